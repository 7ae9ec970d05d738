"""One trial, in the process that trains it: every epoch is in the store before it is told.

So a trial that begins again goes on from its last epoch, to the bit, and tells of those before it
as if it had just trained them.
"""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import ray
import torch
from ray import tune
from torch import Tensor

from tuning.design import Candidate
from tuning.proposals import METRIC
from tuning.trial_checkpoints import locate
from vae.data.datasets import DatasetRef
from vae.data.mapped import open_rows
from vae.data.rows import Rows
from vae.errors import RefusedError, describe_error
from vae.experiments.loading import apply_overrides, parse_experiment
from vae.experiments.settings import Experiment
from vae.models.networks import VAE
from vae.publishing.epochs import RECONSTRUCTED, keep_pictures
from vae.runs.run import Run
from vae.runs.timing import Span
from vae.store.promises import Store
from vae.training import checkpoints
from vae.training.checkpoints import History
from vae.training.cpu import set_up_cpu
from vae.training.fit import Fit, Row
from vae.training.start import load_start

log = logging.getLogger("vae.search")
Warned = tuple[str, str]  # the logger's name and the message


@dataclass(frozen=True, kw_only=True)
class TrialJob:
    """What all trials of a search have in common; it goes to their processes."""

    plain: dict[str, Any]  # the experiment as plain data
    store: Store
    prefix: str  # of the search
    train: Tensor | Rows
    val: Tensor | Rows
    start: VAE | None  # whose weights are the first

    @classmethod
    def of(cls, run: Run, dataset: DatasetRef, prefix: str) -> Self:
        """That of a run's trials. Raises UserError."""
        return cls(
            plain=run.experiment.to_dict(),
            store=run.store,
            prefix=prefix,
            train=open_rows(dataset, run.store, "train"),
            val=open_rows(dataset, run.store, "val"),
            start=load_start(run.store, run.start) if run.start else None,
        )

    def build_experiment(self, candidate: Candidate) -> Experiment:
        """What a trial of this candidate trains, for the search's epochs."""
        epochs = self.plain["search"]["epochs"]
        return parse_experiment(apply_overrides(self.plain, candidate | {"train.epochs": epochs}))


class Warnings(logging.Handler):
    """A context that takes this process's warnings, for the driver to tell: Ray hides its logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.waiting: list[Warned] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.waiting.append((record.name, record.getMessage()))

    def take(self) -> list[Warned]:
        """What came since the last call."""
        taken, self.waiting = self.waiting, []
        return taken

    def __enter__(self) -> Self:
        logging.getLogger("vae").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("vae").removeHandler(self)


class TrialFit:
    """A candidate's training, from the last epoch that the store has."""

    def __init__(self, job: TrialJob, candidate: Candidate, device: torch.device) -> None:
        self.store, self.folder = job.store, locate(job.prefix, candidate)
        self.experiment = job.build_experiment(candidate)
        self.total = job.plain["train"]["epochs"]  # of the training that its epochs may be part of
        self.shown = job.val[:RECONSTRUCTED]
        self.fit = Fit(self.experiment, job.train, job.val, device)
        self.history = self.resume(job.start)
        self.resumed = len(self.history)

    def resume(self, start: VAE | None) -> History:
        """Continue from the newest whole checkpoint; else begin, and say so if one can't be read.

        Raises RefusedError.
        """
        try:
            content = checkpoints.read_latest(self.store, self.folder)
        except RefusedError:
            raise
        except Exception as error:  # to begin anew gives the same bits
            log.warning("search   a trial begins anew: %s", describe_error(error))
            content = None
        if content:
            return checkpoints.restore(self.fit.state, content)
        if start:
            self.fit.begin_from(start)
        return []

    def run(self) -> Iterator[Row]:
        """The metrics of every epoch, those that the store had included.

        Raises DivergedError, and RefusedError if the store takes nothing more.
        """
        yield from self.history
        while self.fit.state.epoch < self.experiment.train.epochs:
            row, _ = self.fit.run_epoch(self.fit.state.model, on_step=lambda step: None)
            self.history = [*self.history, row]
            self.keep()
            yield row

    def keep(self) -> None:
        """Save the epoch and its pictures. Where the store is away, no trial has failed for it.

        Raises RefusedError.
        """
        state = self.fit.state
        try:
            keep_pictures(
                self.store, self.folder, state.averaged, self.shown, state.epoch, self.total
            )
            checkpoints.keep_epoch(self.store, self.folder, state, self.history)
        except RefusedError:
            raise
        except Exception as error:
            told = "search   epoch %d of a trial is not kept, a kill would lose it: %s"
            log.warning(told, state.epoch, describe_error(error))


def run_trial(candidate: dict[str, Any], *, job: TrialJob) -> None:
    """Train one candidate for the search's epochs, reporting every epoch's metrics.

    With them goes the lowest validation loss so far, in nats, by which trials are compared.
    """
    set_up_cpu()
    best = math.inf
    with Warnings() as warnings:
        trial = TrialFit(job, candidate, find_device())
        for row in trial.run():
            best = min(best, row["val/loss"])
            told = {"resumed": trial.resumed, "warnings": warnings.take()}
            tune.report({"row": row, "epoch": row["epoch"], METRIC: best, **told})


def train_rest(candidate: Candidate, job: TrialJob) -> tuple[list[Warned], Span]:
    """Train what the store lacks of a candidate's epochs; what was warned of, and when it did."""
    set_up_cpu()
    began = time.time()
    with Warnings() as warnings:
        for _ in TrialFit(job, candidate, find_device()).run():
            pass
    return warnings.take(), (began, time.time())


def find_device() -> torch.device:
    """The device that Ray gave this process."""
    return torch.device("cuda" if ray.get_gpu_ids() else "cpu")
