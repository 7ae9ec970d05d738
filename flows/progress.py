"""What people and W&B are told while a run is at work: lines, curves, and the view."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from flows.session import Session
from vae.cluster.events import Event
from vae.evaluation.bounds import VALIDATION_SAMPLES
from vae.publishing.publication import Publication
from vae.registry.promote import METRIC
from vae.runs.trials import Trial, format_loss, format_overrides
from vae.tracking.run import TrackedRun

log = logging.getLogger("vae.pipeline")
LINE_S = 10.0  # between lines inside an epoch
CLOCKS = ("began", "ended")  # of an epoch: no metrics
EVALUATION_LINE = (
    "test: negative ELBO {nelbo:.2f} nats (rate {rate:.2f}, distortion {distortion:.2f}), "
    "-log p(x) <= {nll:.2f} nats with K = {nll_samples:.0f}, {bits}{active_units:.0f} active units"
)
PROBE_LINE = "a linear probe of the latents is {probe_accuracy:.2%} right"
FRECHET_LINE = (
    "Fréchet distance {frechet_samples:.2f} of samples, "
    "{frechet_reconstructions:.2f} of reconstructions, "
    "{frechet_floor:.2f} of training images"
)
TRIAL_LINE = (
    "search   trial {number} of {trials}  epoch {epoch} of {epochs}  val {loss}  ({varied})"
)
BEST_LINE = "epoch {epoch} is the best: val -log p(x) <= {bound:.2f} nats with K = {samples}"
EPOCH_LINE = (
    "train    epoch {epoch} of {epochs}  loss {train_loss:.2f}  val {val_loss}  "
    "{images_per_s:.0f} images/s  {left_s:.0f} s left"
)


def tell_evaluation(session: Session, metrics: Mapping[str, float]) -> None:
    """Two lines of what was measured on the test split."""
    for line in (format_bounds(metrics), f"test: {format_quality(metrics)}"):
        log.info("evaluate %s", line)
        session.view.on_figures("evaluate", line)


def tell_cut(stage: str, what: str, done: int, asked: int) -> None:
    """A line if the time budget left a stage less than it was asked for."""
    if done < asked:
        log.info("%-8s the time budget is over after %d of %d %s", stage, done, asked, what)


def tell_publication(name: str, published: Publication) -> None:
    """A line of what was published, and how it fared."""
    fared = format_promotion(published.promotion._asdict() | {"notes": published.notes})
    log.info("publish  published %s@%s, %s", name, published.version, fared)


def format_promotion(result: Mapping[str, Any]) -> str:
    """How a version fared, in a few words: 'best so far, val 93.80 (-0.40)'.

    `result`: a `Promotion`'s fields and the version's notes, as the publish stage records them.
    """
    value, previous = result["value"], result["previous"]
    gain = "" if previous is None else f" ({value - previous:+.2f})"
    return ", ".join([result["why"], f"val {value:.2f}{gain}", *result["notes"]])


def format_bounds(metrics: Mapping[str, float]) -> str:
    """The bounds of the test split in a line; bits/dim where log p(x) is no density."""
    bits = f"{metrics['bits_per_dim']:.4f} bits/dim, " if "bits_per_dim" in metrics else ""
    return EVALUATION_LINE.format(bits=bits, **metrics)


def format_quality(metrics: Mapping[str, float]) -> str:
    """The probe and the Fréchet distances in a few words, or why there are none."""
    if "probe_accuracy" not in metrics:
        return "no labels, so neither a probe of the latents nor Fréchet distances"
    lines = [PROBE_LINE, *([FRECHET_LINE] if "frechet_samples" in metrics else [])]
    return ", ".join(line.format_map(metrics) for line in lines)


class TrialProgress:
    """Tells of every epoch and end of every trial."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.tracked: dict[int, TrackedRun] = {}  # of the trials of this session, by number

    def on_epoch(self, number: int, overrides: dict[str, Any], row: dict[str, float]) -> None:
        """A line, and the metrics on the trial's own curves."""
        config = self.session.run.experiment.search
        line = TRIAL_LINE.format(
            number=number,
            trials=config.trials,
            epoch=row["epoch"],
            epochs=config.epochs,
            loss=format_loss(row),
            varied=format_overrides(overrides),
        )
        log.info("%s", line)
        self.session.view.on_trial_epoch(number, overrides, row)
        tracked = self.tracked[number] = self.session.track("search", f"trial-{number:02d}")
        tracked.log({name: value for name, value in row.items() if name not in CLOCKS})
        if row["epoch"] == 1:
            tracked.set_summary(overrides)

    def on_end(self, trial: Trial) -> None:
        """The view alone shows how it ended: the line of its last epoch is there."""
        self.session.view.on_trial_end(trial)

    def show_table(self, trials: list[Trial]) -> None:
        """All trials as one W&B table, on the run of the evaluation."""
        settings = sorted({name for trial in trials for name in trial.overrides})
        rows = [
            [t.number, *(t.overrides.get(name) for name in settings), t.loss, t.epochs, t.stopped]
            for t in trials
        ]
        columns = ["trial", *settings, "val/loss", "epochs", "stopped"]
        self.session.track("evaluate").log_table("trials", columns, rows)
        for tracked in self.tracked.values():
            tracked.finish()


class FitProgress:
    """Tells of every event of the final training."""

    def __init__(self, session: Session) -> None:
        self.session, self.epochs = session, session.run.experiment.train.epochs
        self.line_at: float | None = None  # when the last line was, or the first step is told of

    def __call__(self, event: Event) -> None:
        if "row" in event:
            self.tell_epoch(event["row"], event["losses"])
        elif "resumed" in event:
            log.info("train    resumed after epoch %d of %d", event["resumed"], self.epochs)
        else:
            self.tell_step(event)

    def tell_step(self, event: Event) -> None:
        """How far the epoch is: the view at once, a line now and then."""
        self.session.view.on_fit_step(event["epoch"], event["step"], event["steps"])
        now = time.time()
        self.line_at = now if self.line_at is None else self.line_at
        if now - self.line_at > LINE_S:
            self.line_at = now
            log.info("train    epoch %(epoch)d  step %(step)d of %(steps)d", event)

    def tell_epoch(self, row: dict[str, float], losses: list[float]) -> None:
        """A line, and the metrics with the loss of each step."""
        self.line_at = time.time()
        line = EPOCH_LINE.format(
            epoch=row["epoch"],
            epochs=self.epochs,
            train_loss=row["train/loss"],
            val_loss=format_loss(row),
            images_per_s=row["images_per_s"],
            left_s=(self.epochs - row["epoch"]) * (time.time() - row["began"]),
        )
        log.info("%s", line)
        self.session.view.on_fit_epoch(row)
        tracked, first = self.session.track("train"), row["step"] - len(losses)
        for offset in range(0, len(losses), max(1, len(losses) // 20)):
            tracked.log({"step": first + offset, "step/loss": losses[offset]}, step_metric="step")
        unplotted = (*CLOCKS, "step")
        tracked.log({name: value for name, value in row.items() if name not in unplotted})

    def tell_best(self, best_epoch: int, bound: float) -> None:
        """A line, and the bound by which runs on this dataset are compared."""
        line = BEST_LINE.format(epoch=best_epoch, bound=bound, samples=VALIDATION_SAMPLES)
        log.info("train    %s", line)
        self.session.view.on_figures("train", line)
        self.session.track("train").set_summary({METRIC: bound})
