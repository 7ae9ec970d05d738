"""What every Ray Train worker runs: resume, then train, validate and save."""

import logging
import math
import time
from functools import partial
from typing import Any

import ray
import ray.train.torch
import torch
from ray.actor import ActorHandle

from vae.cluster.channel import Channel, Event
from vae.data.datasets import DatasetRef
from vae.data.mapped import open_rows
from vae.errors import UserError
from vae.experiments.loading import parse_experiment
from vae.publishing.epochs import RECONSTRUCTED, keep_pictures
from vae.registry.lineage import read_start
from vae.store.open import open_store
from vae.training import checkpoints
from vae.training.batches import Shard
from vae.training.cadence import Cadence
from vae.training.checkpoints import History
from vae.training.cpu import set_up_cpu
from vae.training.fit import Fit
from vae.training.ranks import Ranks
from vae.training.start import load_start
from vae.training.step import DivergedError, is_emulated

log = logging.getLogger("vae.cluster.worker")
HEARTBEAT_S = 1.0  # between progress events inside an epoch


def train_worker(job: dict[str, Any]) -> dict[str, Any]:
    """Train to the last epoch. Ray runs it on every rank; rank 0's answer becomes the result.

    `job` is plain data: experiment, dataset, store, where checkpoints and pictures go in it, the
    version whose weights are the first, the seconds that its epochs may take, and the channel for
    rank 0's events and every rank's warnings. A diverged training is an answer, not an
    exception, because Ray would start the workers again to fail the same way.
    """
    set_up_cpu()
    logging.getLogger("vae").addHandler(Warnings(job["channel"]))
    try:
        return {"history": Worker(job).run()}
    except DivergedError as error:
        return {"diverged": str(error)}
    except UserError as error:  # the driver ends the fit: Ray would try it again
        ray.get(job["channel"].tell.remote({"refused": error}))
        raise


class Warnings(logging.Handler):
    """Sends this process's warnings to the driver: what a worker logs is in a file of Ray's."""

    def __init__(self, channel: ActorHandle[Channel]) -> None:
        super().__init__(logging.WARNING)
        self.channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Send the message and the name of its logger."""
        event = {"warning": record.getMessage(), "logger": record.name}
        ray.get(self.channel.tell.remote(event))


class Worker:
    """One rank: its part of the fit, the store and the way to tell the driver."""

    def __init__(self, job: dict[str, Any]) -> None:
        context = ray.train.get_context()
        self.shard = Shard(context.get_world_rank(), context.get_world_size())
        self.ranks = Ranks(ray.train.torch.get_device(), self.shard)
        self.store, self.prefix = open_store(job["store"]), job["checkpoints"]
        self.pictures = job["pictures"]
        self.channel, self.beat = job["channel"], time.monotonic()
        self.start, self.budget_s = read_start(job["lineage"]), job["budget_s"]
        experiment = parse_experiment(job["experiment"])
        ref = DatasetRef.from_json(job["dataset"])
        train, val = (open_rows(ref, self.store, split) for split in ("train", "val"))
        self.fit = Fit(experiment, train, val, self.ranks.device, self.shard, self.ranks.reduce)
        self.epochs, self.shown = experiment.train.epochs, val[:RECONSTRUCTED]
        self.shared = experiment.shared_epochs
        interval_s = 60 * experiment.train.checkpoint_minutes or math.inf
        self.cadence = Cadence(interval_s, self.shard.rank, self.ranks.reduce)
        if self.shard.rank == 0 and is_emulated(experiment.train, self.ranks.device):
            log.warning(
                "this CPU has no AVX-512 instructions for bfloat16: "
                "train.precision = float32 would be faster"
            )

    def run(self) -> History:
        """Run every epoch that is not in the store yet; return the metrics of all. Collective.

        No epoch begins once those before have taken the time there is; the first always does, be it
        the winning trial's.
        """
        history = self.resume()
        state, forward = self.fit.state, self.ranks.distribute(self.fit.state.model)
        while state.epoch < self.epochs and not self.is_over(history):
            self.cadence.restart()
            row, losses = self.fit.run_epoch(forward, partial(self.after_step, history))
            history = [*history, row]
            if self.shard.rank == 0:
                self.keep_pictures()
                checkpoints.keep_epoch(self.store, self.prefix, state, history)
                rates = self.fit.latent_rates
                told = {"row": row, "losses": losses.tolist(), "latent_rates": rates.tolist()}
                self.report(told | {"saved": True})
        return history

    def is_over(self, history: History) -> bool:
        """Whether the epochs so far, by rank 0's clock, have taken the time there is. Collective.

        A function of the history, which a checkpoint holds: a resumed fit ends where this one does.
        """
        if self.budget_s is None or not history:
            return False
        own = history[self.shared :]  # the search has paid for the others
        spent_s = sum(row["ended"] - row["began"] for row in own)
        over = self.shard.rank == 0 and spent_s >= self.budget_s
        return bool(self.ranks.reduce(torch.tensor([float(over)])))

    def resume(self) -> History:
        """Continue from the newest whole checkpoint, the same one on every rank. Collective.

        Without one, training begins, with the weights of another version if the run was begun so.
        Raises UserError where a search has trained the first epochs and they are not there.
        """
        read = checkpoints.read_latest(self.store, self.prefix) if self.shard.rank == 0 else None
        content = self.ranks.broadcast(read)
        checkpoints.check_reached(content, self.shared, f"{self.store.uri}/{self.prefix}")
        if content is None:
            if self.start:
                self.fit.begin_from(load_start(self.store, self.start))
            return []
        history = checkpoints.restore(self.fit.state, content, self.shard)
        if self.shard.rank == 0:
            state = self.fit.state
            made = state.sums.count_steps()
            told = {"resumed": state.epoch, "made": made, "history": history}
            self.report(told | {"saved": False})
        return history

    def after_step(self, history: History, step: int) -> None:
        """Report how far the epoch is, and save it if it is time to. Collective."""
        if self.shard.rank == 0 and time.monotonic() - self.beat > HEARTBEAT_S:
            self.report_step(step, saved=False)
        if step < self.fit.context.steps_per_epoch and self.cadence.is_due():
            sums = self.fit.capture_sums()
            if self.shard.rank == 0:
                checkpoints.keep_step(self.store, self.prefix, self.fit.state, history, sums)
                self.report_step(step, saved=True)

    def keep_pictures(self) -> None:
        """Keep what the averaged weights draw by now, in some of the epochs. Rank 0 alone."""
        state = self.fit.state
        keep_pictures(
            self.store, self.pictures, state.averaged, self.shown, state.epoch, self.epochs
        )

    def report_step(self, step: int, *, saved: bool) -> None:
        """Report how far the epoch is. Rank 0 alone."""
        self.beat = time.monotonic()
        epoch, steps = self.fit.state.epoch + 1, self.fit.context.steps_per_epoch
        self.report({"epoch": epoch, "step": step, "steps": steps, "saved": saved})

    def report(self, event: Event) -> None:
        """Tell the driver, whose answer may be to save at once. Rank 0 alone."""
        self.cadence.asked = ray.get(self.channel.report.remote(event))
