"""Hyper-parameter search: Ray Tune around the training that the final fit uses.

A trial is a plain function in one process, which has others train if it is to have several. What it
has learnt after each epoch is in the store, and so is how it ended: a search that was killed goes
on with what is missing, and neither Ray's nor Optuna's state is needed.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from tuning.first import choose_first
from tuning.places import PlaceLimiter, check_room, request_places
from tuning.pruner import build_pruner
from tuning.recorder import Listener, Recorder, read_proposals, read_trials
from tuning.sampler import build_sampler, watch_end
from tuning.shared_devices import share_devices
from tuning.shared_trial import run_shared_trial
from tuning.trial import TrialJob
from tuning.trial_checkpoints import drop_beaten
from tuning.trial_process import run_trial
from vae.cluster.interruptible import run_interruptibly
from vae.cluster.session import Resources
from vae.data.datasets import DatasetRef
from vae.runs.run import Run
from vae.runs.timing import measure_covered_s
from vae.runs.trials import Trial
from vae.scratch import open_temporary


def search(
    run: Run,
    dataset: DatasetRef,
    resources: Resources,
    listener: Listener,
    budget_s: float | None = None,
) -> list[Trial]:
    """Run the trials that the store does not have yet; all trials, in order.

    Once trials have been training for `budget_s` seconds in all, those before a kill included, or
    as many as `search.patience` have ended without a new best, none is begun: those at work end as
    they would have. One is begun in any case.

    Blocks, and tells the listener, in this process, of every epoch and end of every trial. Raises
    UserError if this machine has too few devices for a trial, RuntimeError if processes of some
    were lost: to search again is to run those again.
    """
    config, prefix = run.experiment.search, f"{run.prefix}/search"
    check_room(config, resources)
    done, proposals = read_trials(run, prefix), read_proposals(run, prefix)
    first = choose_first(run)
    deadline = find_deadline(done, budget_s)
    keep = max(1, config.confirm)  # any of so many may win
    while len(done) < config.trials:
        is_over = watch_end(done, config.patience, deadline)
        if done and len(done) >= len(proposals) and is_over():
            break
        sampler = build_sampler(run.experiment, proposals, done, first, is_over)
        pruner = build_pruner(config, run.experiment.seed, done)
        recorder = Recorder(run, prefix, done, proposals, listener, keep)
        left = config.trials - len(done)
        run_trials(run, dataset, resources, recorder, sampler, pruner, left)
        done, proposals = read_trials(run, prefix), read_proposals(run, prefix)
        check_lost(done, len(proposals) if sampler.over else config.trials)
    drop_beaten(run.store, prefix, done, keep)
    return done


def find_deadline(done: Sequence[Trial], budget_s: float | None) -> float:
    """When a budget of seconds, less those that trials have taken, is over by time.monotonic()."""
    spent_s = measure_covered_s(span for trial in done for span in trial.spans)
    return math.inf if budget_s is None else time.monotonic() + budget_s - spent_s


def check_lost(done: Sequence[Trial], wanted: int) -> None:
    """Raise RuntimeError unless so many have ended; more, where two searches for a run met."""
    if len(done) < wanted:
        lost = wanted - len(done)
        raise RuntimeError(f"{lost} of {wanted} trials were lost with their processes")


def run_trials(
    run: Run,
    dataset: DatasetRef,
    resources: Resources,
    recorder: Recorder,
    sampler: Searcher,
    pruner: TrialScheduler,
    count: int,
) -> None:
    """Run at most so many trials: those that the sampler proposes, as far as the pruner lets them.

    Blocks; what comes of each is in the store, by the recorder.
    """
    # Tune prints a traceback for every trial that failed; the recorder tells of it in one line.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    job = TrialJob.of(run, dataset, recorder.prefix, resources.use_gpu)
    config = run.experiment.search
    with open_temporary("search") as scratch, open_trainable(job) as trainable:
        tuner = tune.Tuner(
            tune.with_resources(trainable, request_places(config, job.use_gpu)),
            tune_config=tune.TuneConfig(
                num_samples=count,
                search_alg=PlaceLimiter(sampler, config, job.use_gpu),
                scheduler=pruner,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=run.run_id, storage_path=scratch, verbose=0, callbacks=[recorder]
            ),
        )
        run_interruptibly(tuner.fit, recorder.refused, recorder.stopping.set)
    recorder.write_rest()


@contextmanager
def open_trainable(job: TrialJob) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A context with what Tune runs of a trial."""
    if job.search.sharing == "processes":
        yield tune.with_parameters(run_trial, job=job)
        return
    with share_devices(job) as devices:
        yield tune.with_parameters(run_shared_trial, devices=devices)
