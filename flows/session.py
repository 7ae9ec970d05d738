"""What the stages of one flow run share: the run, the cluster, W&B, the view, and the clock."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from flows.progress_bars import ProgressBars
from flows.tracked_runs import open_tracker
from flows.tracking import describe_config, describe_label
from flows.view import View
from vae.cluster.session import Resources, Workers, join_cluster, leave_cluster
from vae.data.datasets import DatasetRef
from vae.experiments.settings import Experiment
from vae.runs.attempts import begin_attempt
from vae.runs.records import Result
from vae.runs.run import Run
from vae.runs.timing import Span, format_split, measure_covered_s
from vae.scratch import claim_scratch
from vae.tracking.run import TrackedRun
from vae.tracking.tracker import Tracker

log = logging.getLogger("vae.pipeline")
Work = tuple[Result, list[Span]]  # what a stage records, and when it was computing


class Command(NamedTuple):
    """The command that runs a flow in its own process, ahead of which it started things."""

    began: float  # in seconds since the epoch
    cluster: Future[Resources]
    view: View


COMMAND: ContextVar[Command | None] = ContextVar("command", default=None)


@dataclass
class Session:
    """One flow run at work; stages take it and leave their results in the store."""

    run: Run
    cluster: Future[Resources]
    tracker: Tracker
    began: float
    attempt: int
    view: View = field(default_factory=View)
    times: dict[str, dict[str, float]] = field(default_factory=dict)
    tracked: dict[str, TrackedRun] = field(default_factory=dict)

    @cached_property
    def dataset(self) -> DatasetRef:
        """The run's dataset, as the data stage left it."""
        return DatasetRef.from_json(self.require_result("data")["dataset"])

    @property
    def resources(self) -> Resources:
        """What the Ray cluster has; waits until there is one."""
        return self.cluster.result()

    def run_once(self, stage: str, work: Callable[[], Work]) -> Result:
        """A stage's result: the one in the store, or that of doing the work now."""
        found = self.run.read_result(stage)
        if found is not None:
            log.info("%-8s done before, nothing to do", stage)
            self.view.on_stage_end(stage, 0.0)
            return found
        began = time.time()
        self.view.on_stage_start(stage)
        result, spans = work()
        took = {"seconds": time.time() - began, "compute_s": measure_covered_s(spans)}
        self.times[stage] = took
        self.view.on_stage_end(stage, took["seconds"])
        return self.run.record(stage, result | {"time": took})

    def require_result(self, stage: str) -> Result:
        """The result of an earlier stage, which has run by now."""
        result = self.run.read_result(stage)
        if result is None:
            raise RuntimeError(f"run '{self.run.run_id}' has no result of its stage {stage}")
        return result

    def track(self, job: str, experiment: Experiment, trial: int | None = None) -> TrackedRun:
        """The W&B run of a job ("search", "train" or "evaluate") or of one trial of the search.

        Opened when first asked for, continued where it is finished. `experiment`: with the settings
        that it runs with.
        """
        label = describe_label(self.run, job, trial)
        known = self.tracked.get(label.run_id)
        if known is None or known.finished:
            facts = {"attempt": self.attempt} | ({"trial": trial} if trial else {})
            config = describe_config(self.run, experiment, self.dataset) | facts
            self.tracked[label.run_id] = self.tracker.start_run(label, config)
        return self.tracked[label.run_id]

    def format_times(self) -> str:
        """Where this session's seconds went, in one line."""
        return format_split(self.times, time.time() - self.began)


@contextmanager
def open_session(run: Run, workers: Workers) -> Iterator[Session]:
    """A session for one flow run, with the command's Ray session or one of its own.

    W&B is closed at the end, after Ray: a run that is cancelled ends its work at once.
    """
    claim_scratch()
    command, directory = COMMAND.get(), Path(os.environ.get("WANDB_DIR", "."))
    began, view = (command.began, command.view) if command else (time.time(), View())
    cluster = borrow_cluster(command.cluster) if command else join_cluster(workers)
    with (
        closing(ProgressBars(view, run)) as bars,
        open_tracker(run, directory) as tracker,
        cluster as joining,
    ):
        yield Session(run, joining, tracker, began, begin_attempt(run), bars)


@contextmanager
def borrow_cluster(cluster: Future[Resources]) -> Iterator[Future[Resources]]:
    """A context with the command's Ray session, which ends it only where it fails."""
    try:
        yield cluster
    except BaseException:
        if cluster.done():
            leave_cluster()
        raise
