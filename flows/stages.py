"""The five stages as plain functions: each does its part of a run once and records the result."""

import dataclasses
import logging

import torch

from flows.progress import FitProgress, TrialProgress, quality_line, settings_line
from flows.session import Session
from tuning.results import best_trial
from tuning.search import search
from vae.cluster import launch
from vae.cluster.evaluation import judge, validation_bound
from vae.data.datasets import DatasetRef, prepare
from vae.errors import UserError
from vae.experiments.loading import Experiment, from_dict, with_overrides
from vae.models.networks import VAE
from vae.publishing.publication import publish_run
from vae.registry.publish import METRIC
from vae.runs.run import Result
from vae.runs.timing import Span
from vae.training import checkpoints
from vae.training.fit import first_model

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
    """Fit the winner with DDP, resumed from the store's checkpoints; bound the validation split."""

    def work() -> Work:
        told, resources = FitProgress(session), session.resources
        experiment, ref = winner(session), dataset(session)
        history = launch.fit(session.run, experiment, ref, resources, told)
        spans = [(r["began"], r["ended"]) for r in history if r["began"] >= session.began]
        bound, bound_spans = validation_bound(
            model_of(session, history), experiment, ref, session.run.store, resources
        )
        best = checkpoints.best_epoch(history)
        told.done(best, bound)
        return {"history": history, "best_epoch": best, METRIC: bound}, spans + bound_spans

    return session.once("train", work)


def evaluate(session: Session) -> Result:
    """Judge the best epoch on the test split, which nothing before this has read."""

    def work() -> Work:
        model, ref = trained_model(session), dataset(session)
        run, resources = session.run, session.resources
        metrics, spans = judge(model, winner(session), ref, run.store, resources)
        test_metrics = {f"test/{name}": value for name, value in metrics.items()}
        named = {METRIC: session.needed("train")[METRIC]} | test_metrics
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
    """The model that the train stage left. Raises UserError."""
    return model_of(session, session.needed("train")["history"])


def model_of(session: Session, history: checkpoints.History) -> VAE:
    """The model of the best epoch, from the run's checkpoints. Raises UserError."""
    run, experiment = session.run, winner(session)
    content = checkpoints.best(run.store, f"{run.prefix}/checkpoints", history)
    if content is None:
        raise UserError(
            f"the checkpoint of the best epoch of run '{run.run_id}', "
            f"{checkpoints.best_epoch(history)}, is missing or corrupt: begin a new run"
        )
    shape = dataset(session).shape
    model = first_model(experiment, torch.zeros((1, *shape), dtype=torch.uint8))
    model.to(experiment.train.dtype).load_state_dict(content["averaged"])
    return model.float().eval()
