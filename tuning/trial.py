"""One trial, in a process that trains it: every epoch is in the store before it is told.

So a trial that begins again goes on from its last epoch, to the bit, and tells of those before it
as if it had just trained them.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import ray
import torch
from torch import Tensor

from tuning.design import Candidate
from tuning.told import Told, Warned
from tuning.trial_checkpoints import locate
from vae.data.datasets import DatasetRef
from vae.data.mapped import open_rows
from vae.data.placement import DEVICE_SHARE, Placed
from vae.data.rows import Rows
from vae.errors import RefusedError, describe_error
from vae.experiments.loading import apply_overrides, parse_experiment
from vae.experiments.search import SearchConfig
from vae.experiments.settings import Experiment
from vae.models.networks import VAE
from vae.publishing.epochs import RECONSTRUCTED, keep_pictures
from vae.runs.run import Run
from vae.store.promises import Store
from vae.training import checkpoints
from vae.training.checkpoints import History
from vae.training.fit import Fit, Row
from vae.training.ranks import Ranks
from vae.training.start import load_start

log = logging.getLogger("vae.search")


@dataclass(frozen=True, kw_only=True)
class TrialJob:
    """What all trials of a search have in common; it goes to their processes."""

    plain: dict[str, Any]  # the experiment as plain data
    store: Store
    prefix: str  # of the search
    train: Tensor | Rows
    val: Tensor | Rows
    start: VAE | None  # whose weights are the first
    use_gpu: bool = False

    @property
    def search(self) -> SearchConfig:
        """How the search is made."""
        return parse_experiment(self.plain).search

    @classmethod
    def of(cls, run: Run, dataset: DatasetRef, prefix: str, use_gpu: bool) -> Self:
        """That of a run's trials. Raises UserError."""
        return cls(
            plain=run.experiment.to_dict(),
            store=run.store,
            prefix=prefix,
            train=open_rows(dataset, run.store, "train"),
            val=open_rows(dataset, run.store, "val"),
            start=load_start(run.store, run.start) if run.start else None,
            use_gpu=use_gpu,
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
    """A candidate's training on one rank, from the last epoch that the store has. Collective.

    `placed`: the training images where trials of this process share them.
    """

    def __init__(
        self, job: TrialJob, candidate: Candidate, ranks: Ranks, placed: Placed | None = None
    ) -> None:
        self.ranks = ranks
        self.store, self.folder = job.store, locate(job.prefix, candidate)
        self.experiment = job.build_experiment(candidate)
        self.total = job.plain["train"]["epochs"]  # of the training that its epochs may be part of
        self.shown = job.val[:RECONSTRUCTED]
        share = DEVICE_SHARE / self.experiment.search.trials_per_device
        part = (ranks.device, ranks.shard, ranks.reduce, share, placed)
        self.fit = Fit(self.experiment, job.train, job.val, *part)
        self.history = self.resume(job.start)
        self.resumed = len(self.history)

    def resume(self, start: VAE | None) -> History:
        """Continue from what the store has, else begin. Collective. Raises RefusedError."""
        content = self.ranks.broadcast(self.read() if self.ranks.shard.rank == 0 else None)
        if content:
            return checkpoints.restore(self.fit.state, content, self.ranks.shard)
        if start:
            self.fit.begin_from(start)
        return []

    def read(self) -> dict[str, Any] | None:
        """The newest whole checkpoint, if any; says so if it can't be read. Raises RefusedError."""
        try:
            return checkpoints.read_latest(self.store, self.folder)
        except RefusedError:
            raise
        except Exception as error:  # to begin anew gives the same bits
            log.warning("search   a trial begins anew: %s", describe_error(error))
            return None

    def run(self) -> Iterator[Row]:
        """The metrics of every epoch, those that the store had included. Collective.

        Raises DivergedError, and RefusedError if the store takes nothing more.
        """
        yield from self.history
        forward = self.ranks.distribute(self.fit.state.model)
        while not self.is_over:
            row, _ = self.fit.run_epoch(forward, on_step=lambda step: None)
            self.keep(row)
            yield row

    @property
    def is_over(self) -> bool:
        """Whether all epochs are trained."""
        return self.fit.state.epoch >= self.experiment.train.epochs

    def keep(self, row: Row) -> None:
        """Save the epoch and its pictures. Where the store is away, no trial has failed for it.

        Raises RefusedError.
        """
        self.history, state = [*self.history, row], self.fit.state
        if self.ranks.shard.rank:
            return
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


def train_part(candidate: Candidate, job: TrialJob, ranks: Ranks) -> Iterator[Told]:
    """Train a candidate for the search's epochs as one of its ranks. Collective.

    Raises DivergedError, and RefusedError if the store takes nothing more.
    """
    with Warnings() as warnings:
        trial = TrialFit(job, candidate, ranks)
        for row in trial.run():
            yield Told(row, trial.resumed, warnings.take())


def find_device() -> torch.device:
    """The device that Ray gave this process."""
    return torch.device("cuda", 0) if ray.get_gpu_ids() else torch.device("cpu")
