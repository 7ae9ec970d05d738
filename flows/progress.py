"""What people and W&B are told while a run is at work: lines, curves, and the view."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from flows.session import Session
from flows.tracking import apply_trial, read_epoch_pictures
from vae.cluster.channel import Event
from vae.evaluation.bounds import VALIDATION_SAMPLES
from vae.experiments.settings import Experiment
from vae.publishing.publication import Publication
from vae.registry.promote import METRIC
from vae.runs.trials import Trial, format_loss, format_overrides
from vae.tracking.run import TrackedRun
from vae.tracking.values import Histogram, Value
from vae.training.fit import Row

log = logging.getLogger("vae.pipeline")
LINE_S = 10.0  # between lines inside an epoch
BEST_LOSS = "best/val_loss"  # in W&B's table of runs, whose columns trials are compared by
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


def format_publication(name: str, result: Mapping[str, Any]) -> str:
    """The same of a version, led by its name: 'published mnist@…, best so far, val 93.80'."""
    return f"published {name}@{result['version']}, {format_promotion(result)}"


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

    def on_epoch(self, number: int, overrides: dict[str, Any], row: Row) -> None:
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
        self.show(number, overrides, row)

    def on_resume(self, number: int, overrides: dict[str, Any], rows: list[Row]) -> None:
        """A line, and what is not yet on the trial's curves."""
        told = (number, len(rows), self.session.run.experiment.search.epochs)
        log.info("search   trial %d resumed after epoch %d of %d", *told)
        for row in rows:
            self.show(number, overrides, row)

    def show(self, number: int, overrides: dict[str, Any], row: Row) -> None:
        """An epoch in the view and on the trial's own curves."""
        self.session.view.on_trial_epoch(number, overrides, row)
        if number not in self.tracked:
            experiment = apply_trial(self.session.run.experiment, overrides)
            self.tracked[number] = self.session.track("search", experiment, number)
        self.tracked[number].log(select_metrics(row), step=int(row["step"]))

    def on_end(self, trial: Trial) -> None:
        """The view shows how it ended, and so does its row in W&B's table of runs."""
        self.session.view.on_trial_end(trial)
        if tracked := self.tracked.get(trial.number):
            tracked.set_summary({BEST_LOSS: trial.loss, "outcome": trial.outcome})
            tracked.finish(exit_code=1 if trial.error else 0)


class FitProgress:
    """Tells of every event of the final training. `experiment`: what is trained."""

    def __init__(self, session: Session, experiment: Experiment) -> None:
        self.session = session
        self.tracked = session.track("train", experiment)  # W&B is asked while Ray starts
        self.epochs = experiment.train.epochs
        self.line_at: float | None = None  # when the last line was, or the first step is told of
        self.shared = experiment.shared_epochs
        self.taken = False  # whether its curves begin with the epochs of the winning trial

    def __call__(self, event: Event) -> None:
        if "row" in event:
            self.tell_epoch(event["row"], event["losses"], event["latent_rates"])
        elif "resumed" in event:
            self.tell_resumed(event["resumed"], event["made"], event["history"])
        else:
            self.tell_step(event)

    def tell_resumed(self, epoch: int, made: int, history: list[Row]) -> None:
        """A line; and what the winning trial has trained on the training's curves, once.

        `made`: how many steps of the next epoch are made.
        """
        if epoch != self.shared or made:
            step = f", step {made} of the next" if made else ""
            log.info("train    resumed after epoch %d of %d%s", epoch, self.epochs, step)
            return
        log.info("train    goes on after the winner's %d epochs, of %d", epoch, self.epochs)
        self.session.view.on_fit_epoch(history[-1])
        for row in history if not self.taken else ():
            shown = read_epoch_pictures(self.session.run, int(row["epoch"]))
            self.tracked.log(select_metrics(row) | shown, step=int(row["step"]))
        self.taken = True

    def tell_step(self, event: Event) -> None:
        """How far the epoch is: the view at once, a line now and then."""
        self.session.view.on_fit_step(event["epoch"], event["step"], event["steps"])
        now = time.monotonic()
        self.line_at = now if self.line_at is None else self.line_at
        if now - self.line_at > LINE_S or event["saved"]:
            self.line_at = now
            saved = "  saved" if event["saved"] else ""
            log.info("train    epoch %(epoch)d  step %(step)d of %(steps)d" + saved, event)

    def tell_epoch(
        self, row: dict[str, float], losses: list[float], latent_rates: list[float]
    ) -> None:
        """A line; and in W&B the loss of some steps, then the metrics, pictures and rates."""
        self.line_at = time.monotonic()
        line = EPOCH_LINE.format(
            epoch=row["epoch"],
            epochs=self.epochs,
            train_loss=row["train/loss"],
            val_loss=format_loss(row),
            images_per_s=row["images_per_s"],
            left_s=(self.epochs - row["epoch"]) * (row["ended"] - row["began"]),
        )
        log.info("%s", line)
        self.session.view.on_fit_epoch(row)
        first, stride = int(row["step"]) - len(losses), max(1, len(losses) // 20)
        for number, loss in list(enumerate(losses, first + 1))[::stride]:
            values = {"step": number, "step/loss": loss}
            self.tracked.log(values, step=number, step_metric="step", commit=False)
        shown = read_epoch_pictures(self.session.run, int(row["epoch"]))
        rates = {"val/latent_rates": Histogram(latent_rates)}
        self.tracked.log(select_metrics(row) | rates | shown, step=int(row["step"]))

    def tell_best(self, best_epoch: int, bound: float, loss: float) -> None:
        """A line, and the bound by which runs on this dataset are compared."""
        line = BEST_LINE.format(epoch=best_epoch, bound=bound, samples=VALIDATION_SAMPLES)
        log.info("train    %s", line)
        self.session.view.on_figures("train", line)
        self.tracked.set_summary({METRIC: bound, BEST_LOSS: loss, "best_epoch": best_epoch})
        self.tracked.finish()

    def tell_divergence(self, error: Exception) -> None:
        """An alert, to those who asked W&B for them."""
        self.tracked.alert(f"{self.session.run.run_id} diverged", str(error), error=True)


def select_metrics(row: Row) -> dict[str, Value]:
    """What of an epoch's row is a curve over epochs."""
    return {name: value for name, value in row.items() if name not in (*CLOCKS, "step")}
