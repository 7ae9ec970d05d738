"""What Ray runs of a trial: all of it in one process, or one that has others train it."""

import time
from collections.abc import Iterator
from typing import Any

from tuning.design import Candidate
from tuning.told import Told, Warned, report
from tuning.trial import TrialJob, find_device, train_part
from tuning.trial_group import train_together
from vae.runs.timing import Span
from vae.training.cpu import set_up_cpu
from vae.training.ranks import Ranks


def run_trial(candidate: dict[str, Any], *, job: TrialJob) -> None:
    """Train one candidate for the search's epochs, reporting every epoch's metrics."""
    report(train(candidate, job))


def train_rest(candidate: Candidate, job: TrialJob) -> tuple[list[Warned], Span]:
    """Train what the store lacks of a candidate's epochs; what was warned of, and when it did."""
    began = time.time()
    warned = [warning for told in train(candidate, job) for warning in told.warnings]
    return warned, (began, time.time())


def train(candidate: Candidate, job: TrialJob) -> Iterator[Told]:
    """Train a candidate for the search's epochs, here or in processes of its own."""
    if job.search.workers_per_trial > 1:
        return train_together(candidate, job)
    set_up_cpu()
    return train_part(candidate, job, Ranks(find_device()))
