"""What people and W&B are told while a run is at work."""

import logging
import time
from typing import Any

from flows.session import Session
from vae.cluster import launch
from vae.evaluation.bounds import VALIDATION_SAMPLES
from vae.registry.publish import METRIC
from vae.tracking import TrackedRun

log = logging.getLogger("vae.pipeline")


def quality_line(metrics: dict[str, float]) -> str:
    """The probe and the Fréchet distances in a few words, or why there are none."""
    if "probe_accuracy" not in metrics:
        return "no labels, so neither a probe of the latents nor Fréchet distances"
    return (
        "a linear probe of the latents is {probe_accuracy:.2%} right, Fréchet distance "
        "{frechet_samples:.2f} of samples, {frechet_reconstructions:.2f} of reconstructions, "
        "{frechet_floor:.2f} of training images".format_map(metrics)
    )


def settings_line(overrides: dict[str, Any]) -> str:
    """What varied, in a few characters: 'latent_dim 20, learning_rate 0.0012'."""
    return ", ".join(
        f"{name.rpartition('.')[2]} {value:.3g}"
        if isinstance(value, float)
        else f"{name.rpartition('.')[2]} {value}"
        for name, value in overrides.items()
    )


class TrialProgress:
    """Tells people and W&B of every epoch of every trial."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.opened: dict[int, TrackedRun] = {}  # of the trials of this session, by number

    def __call__(self, number: int, overrides: dict[str, Any], row: dict[str, float]) -> None:
        config = self.session.run.experiment.search
        log.info(
            "search   trial %d of %d  epoch %d of %d  val %.2f nats  (%s)",
            *(number, config.trials, row["epoch"], config.epochs, row["val/loss"]),
            settings_line(overrides),
        )
        tracked = self.opened[number] = self.session.track("search", f"trial-{number:02d}")
        tracked.log({name: row[name] for name in row if name not in ("began", "ended")})
        if row["epoch"] == 1:
            tracked.summary(overrides)

    def table(self, trials: list[Any]) -> None:
        """All trials as one W&B table, on the run of the evaluation."""
        settings = sorted({name for trial in trials for name in trial.overrides})
        rows = [
            [t.number, *(t.overrides.get(name) for name in settings), t.loss, t.epochs, t.stopped]
            for t in trials
        ]
        columns = ["trial", *settings, "val/loss", "epochs", "stopped"]
        self.session.track("evaluate").table("trials", columns, rows)
        for tracked in self.opened.values():
            tracked.finish()


class FitProgress:
    """Tells people and W&B of every event of the final training."""

    def __init__(self, session: Session) -> None:
        self.session, self.epochs = session, session.run.experiment.train.epochs

    def __call__(self, event: launch.Event) -> None:
        if "row" in event:
            self.epoch(event["row"], event["losses"])
        elif "resumed" in event:
            log.info("train    resumed after epoch %d of %d", event["resumed"], self.epochs)
        else:
            log.info("train    epoch %(epoch)d  step %(step)d of %(steps)d", event)

    def done(self, best_epoch: int, bound: float) -> None:
        """A line, and the bound by which runs on this dataset are compared."""
        log.info(
            "train    epoch %d is the best: val -log p(x) <= %.2f nats with K = %d",
            *(best_epoch, bound, VALIDATION_SAMPLES),
        )
        self.session.track("train").summary({METRIC: bound})

    def epoch(self, row: dict[str, float], losses: list[float]) -> None:
        """A line, and the metrics with the loss of each step."""
        left_s = (self.epochs - row["epoch"]) * (time.time() - row["began"])
        log.info(
            "train    epoch %d of %d  loss %.2f  val %.2f nats  %d images/s  %.0f s left",
            *(row["epoch"], self.epochs, row["train/loss"], row["val/loss"]),
            *(row["images_per_s"], left_s),
        )
        tracked, first = self.session.track("train"), row["step"] - len(losses)
        for offset in range(0, len(losses), max(1, len(losses) // 20)):
            tracked.log({"step": first + offset, "step/loss": losses[offset]}, step_metric="step")
        tracked.log({name: row[name] for name in row if name not in ("began", "ended", "step")})
