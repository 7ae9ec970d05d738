"""The five stages as plain functions: each does its part of a run once and records the result."""

import dataclasses
import logging
import time
from typing import Any

import torch

from flows.session import Session
from tuning.results import best_trial
from tuning.search import search
from vae import checkpoint, launch
from vae.datasets import DatasetRef, prepare
from vae.errors import UserError
from vae.experiment import Experiment, from_dict, with_overrides
from vae.fit import first_model
from vae.judge import judge
from vae.models import VAE
from vae.publication import publish_run
from vae.runs import Result
from vae.timing import Span

log = logging.getLogger("vae.pipeline")
Work = tuple[Result, list[Span]]


def data(session: Session) -> Result:
    """Fetch, verify, split and store the dataset."""

    def work() -> Work:
        ref = prepare(session.run.experiment.data, session.run.store)
        counts = ", ".join(f"{count:,} {split}" for split, count in ref.counts.items())
        log.info("data     %s: %s images, sha256 %.12s", ref.key, counts, ref.digest)
        return {"dataset": ref.to_json()}, []

    return session.once("data", work)


def search_space(session: Session) -> Result:
    """Find the best settings, if the experiment has a search."""

    def work() -> Work:
        if not session.run.experiment.search.trials:
            return {"overrides": {}, "trials": []}, []
        told = TrialProgress(session)
        trials = search(session.run, dataset(session), session.resources, told)
        told.table(trials)
        winner = best_trial(trials)
        log.info("search   trial %d wins with %s", winner.number, settings_line(winner.overrides))
        spans = [span for trial in trials for span in trial.spans if span[0] >= session.began]
        return {
            "overrides": winner.overrides,
            "trials": [dataclasses.asdict(trial) for trial in trials],
        }, spans

    return session.once("search", work)


def train(session: Session) -> Result:
    """Fit the winner with DDP, resumed from the store's checkpoints."""

    def work() -> Work:
        told = FitProgress(session)
        resources = session.resources
        history = launch.fit(session.run, winner(session), dataset(session), resources, told)
        spans = [(r["began"], r["ended"]) for r in history if r["began"] >= session.began]
        return {"history": history, "best_epoch": checkpoint.best_epoch(history)}, spans

    return session.once("train", work)


def evaluate(session: Session) -> Result:
    """Judge the best epoch on the test split, which nothing before this has read."""

    def work() -> Work:
        model, ref = trained_model(session), dataset(session)
        run, resources = session.run, session.resources
        metrics, spans = judge(model, winner(session), ref, run.store, resources)
        history = session.needed("train")["history"]
        best = history[checkpoint.best_epoch(history) - 1]
        test_metrics = {f"test/{name}": value for name, value in metrics.items()}
        named = {"val/nelbo": best["val/nelbo"]} | test_metrics
        session.track("evaluate").summary(named)
        log.info(
            "evaluate test: negative ELBO %.2f nats (rate %.2f, distortion %.2f), "
            "-log p(x) <= %.2f nats with K = %d, %.4f bits/dim, %d active units",
            *(metrics[name] for name in ("nelbo", "rate", "distortion", "nll", "nll_samples")),
            *(metrics[name] for name in ("bits_per_dim", "active_units")),
        )
        log.info("evaluate test: %s", quality_line(metrics))
        return {"metrics": named}, spans

    return session.once("evaluate", work)


def publish(session: Session) -> Result:
    """Publish the model with its pictures and report, and move the pointer if it is the best."""

    def work() -> Work:
        stages = {name: session.needed(name) for name in ("data", "search", "train", "evaluate")}
        result = publish_run(
            session.run, winner(session), dataset(session), trained_model(session), stages
        )
        tracked = session.track("evaluate")
        tracked.images("pictures", result.pictures)
        tracked.reference_artifact(
            session.run.experiment.name,
            "model",
            result.uri,
            files=result.files,
            aliases=["best"] if result.best else [],
            metadata=stages["evaluate"]["metrics"],
        )
        return {"version": result.version, "uri": result.uri, "best": result.best}, []

    return session.once("publish", work)


def dataset(session: Session) -> DatasetRef:
    """The run's dataset, as the data stage left it."""
    return DatasetRef.from_json(session.needed("data")["dataset"])


def winner(session: Session) -> Experiment:
    """The experiment with the settings that won the search."""
    overrides = session.needed("search")["overrides"]
    return from_dict(with_overrides(session.run.experiment.to_dict(), overrides))


def trained_model(session: Session) -> VAE:
    """The model of the best epoch, from the run's checkpoints. Raises UserError."""
    run, experiment = session.run, winner(session)
    history = session.needed("train")["history"]
    content = checkpoint.best(run.store, f"{run.prefix}/checkpoints", history)
    if content is None:
        raise UserError(
            f"the checkpoint of the best epoch of run '{run.run_id}', "
            f"{checkpoint.best_epoch(history)}, is missing or corrupt: begin a new run"
        )
    shape = dataset(session).shape
    model = first_model(experiment, torch.zeros((1, *shape), dtype=torch.uint8))
    model.to(experiment.train.dtype).load_state_dict(content["averaged"])
    return model.float().eval()


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

    def __call__(self, number: int, overrides: dict[str, Any], row: dict[str, float]) -> None:
        config = self.session.run.experiment.search
        log.info(
            "search   trial %d of %d  epoch %d of %d  val %.2f nats  (%s)",
            *(number, config.trials, row["epoch"], config.epochs, row["val/loss"]),
            settings_line(overrides),
        )
        tracked = self.session.track("search", f"trial-{number:02d}")
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
        for number in range(1, len(trials) + 1):
            self.session.track("search", f"trial-{number:02d}").finish()


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
