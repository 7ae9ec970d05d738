"""What each stage does: its part of a run, whose result the session records."""

import logging
from collections.abc import Sequence
from pathlib import Path

from flows.budget import find_search_budget_s, find_train_budget_s
from flows.events import NewBest, emit_promoted
from flows.notices import notify_promoted
from flows.progress import (
    FitProgress,
    TrialProgress,
    format_promotion,
    format_publication,
    tell_cut,
    tell_evaluation,
    tell_publication,
)
from flows.results import load_best_epoch, load_trained_model, read_winner
from flows.search_lines import (
    ConfirmProgress,
    tell_confirmed,
    tell_end,
    tell_grid,
    tell_importance,
    track_search,
)
from flows.session import Session, Work
from flows.stages import NAMES
from flows.tracking import refer_to_dataset, refer_to_model
from tuning.confirm import confirm
from tuning.importance import measure_importance
from tuning.search import search
from tuning.winner import take_over
from vae.cluster.evaluation import bound_validation, judge
from vae.cluster.launch import check_model, run_fit
from vae.data.contact_sheet import write_sheet
from vae.data.datasets import DatasetRef, prepare
from vae.errors import extract_message
from vae.experiments.settings import BEST
from vae.models import load_model
from vae.publishing.publication import Publication, publish_run
from vae.registry.manifest import Manifest
from vae.registry.pointers import read_best
from vae.registry.promote import METRIC
from vae.registry.pull import pull
from vae.runs.confirmations import choose_confirmed
from vae.runs.records import Result
from vae.runs.run import Run
from vae.runs.trials import Trial, choose_best, format_overrides, is_settled
from vae.scratch import open_temporary
from vae.tracking.values import Picture
from vae.training import checkpoints
from vae.training.start import check_start, load_start
from vae.training.step import DivergedError

log = logging.getLogger("vae.pipeline")
NO_SEARCH: Result = {
    **{"overrides": {}, "trials": [], "settled": False},
    **{"importance": {}, "confirmed": []},
}


def prepare_dataset(session: Session) -> Work:
    """Fetch, verify, split and store the dataset."""
    ref = prepare(session.run.experiment.data, session.run.store)
    counts = ", ".join(f"{count:,} {split}" for split, count in ref.counts.items())
    log.info("data     %s: %s images, sha256 %.12s", ref.key, counts, ref.digest)
    log.info("data     contact sheet %s", write_sheet(ref, session.run.store))
    check_first_weights(session.run, ref)
    return {"dataset": ref.to_json()}, []


def check_first_weights(run: Run, ref: DatasetRef) -> None:
    """Say whose weights training will begin with. Raises UserError if they are of no use to it."""
    if run.start:
        model = load_start(run.store, run.start)
        check_start(model, run.start, run.experiment.model, ref.shape)
        log.info("train    will begin with the weights of %s", run.start)
    elif run.experiment.train.from_ == BEST:
        log.info("train    will begin from scratch: %s has no best version", run.experiment.name)


def search_settings(session: Session) -> Work:
    """Find the best settings, if the experiment has a search."""
    if not session.run.experiment.search.trials:
        return dict(NO_SEARCH), []
    progress, ref = TrialProgress(session), session.dataset
    check_model(session.run.experiment, ref)  # once, and not by the error of every trial
    config, budget_s = session.run.experiment.search, find_search_budget_s(session)
    tell_grid(config)
    trials = search(session.run, ref, session.resources, progress, budget_s)
    settled = is_settled(trials, config.patience)
    tell_end(trials, config, settled=settled)
    best = choose_best(trials)
    log.info("search   trial %d wins with %s", best.number, format_overrides(best.overrides))
    importance = measure_importance(config, trials)
    tell_importance(importance)
    result = {"trials": [trial.to_dict() for trial in trials], "settled": settled}
    result |= {"overrides": best.overrides, "importance": importance, "confirmed": []}
    if config.confirm:
        confirmed, repeats = confirm_winner(session, ref, trials)
        result, trials = result | confirmed, [*trials, *repeats]
    track_search(session, result)
    spans = [span for trial in trials for span in trial.spans if span[0] >= session.began]
    return result, spans


def confirm_winner(
    session: Session, ref: DatasetRef, trials: Sequence[Trial]
) -> tuple[Result, list[Trial]]:
    """Compare the best trials by other seeds; the winner by their mean, and the repeats."""
    progress = ConfirmProgress(session.run.experiment.search)
    found, repeats = confirm(session.run, ref, session.resources, trials, progress)
    best = choose_confirmed(found)
    tell_confirmed(found, best)
    return {"overrides": best.overrides, "confirmed": [one.to_dict() for one in found]}, repeats


def train_winner(session: Session) -> Work:
    """Fit the winner with DDP, from where its trial or a checkpoint left off; bound validation."""
    experiment, ref = read_winner(session), session.dataset
    progress, resources = FitProgress(session, experiment), session.resources
    budget_s, shared = find_train_budget_s(session), experiment.shared_epochs
    winner = session.require_result("search")["overrides"]
    taking = take_over(session.run, winner, shared, ref, resources)
    try:
        history = run_fit(session.run, experiment, ref, resources, progress, budget_s)
    except DivergedError as error:
        progress.tell_divergence(error)
        raise
    tell_cut("train", "epochs", len(history), experiment.train.epochs)
    own = [(row["began"], row["ended"]) for row in history[shared:]]
    spans = [span for span in own if span[0] >= session.began]
    model, store = load_best_epoch(session, history), session.run.store
    bound, bound_spans = bound_validation(model, experiment, ref, store, resources)
    best_epoch = checkpoints.find_best_epoch(history)
    progress.tell_best(best_epoch, bound, history[best_epoch - 1]["val/loss"])
    result = {"history": history, "best_epoch": best_epoch, METRIC: bound}
    result |= {"workers": resources.num_workers}
    return result, taking + spans + bound_spans


def evaluate_best_epoch(session: Session) -> Work:
    """Judge the best epoch on the test split, which nothing before this has read."""
    run, ref, winner = session.run, session.dataset, read_winner(session)
    tracked = session.track("evaluate", winner)
    tracked.use_reference(refer_to_dataset(ref, run.store.uri))
    model = load_trained_model(session)
    metrics, spans = judge(model, winner, ref, run.store, session.resources)
    test_metrics = {f"test/{name}": value for name, value in metrics.items()}
    named = {METRIC: session.require_result("train")[METRIC]} | test_metrics
    tracked.set_summary(named)
    tell_evaluation(session, metrics)
    return {"metrics": named}, spans


def publish_model(session: Session) -> Work:
    """Publish the model with its pictures and report, and move the pointer if it is the best."""
    run, ref, model = session.run, session.dataset, load_trained_model(session)
    earlier = {name: session.require_result(name) for name in NAMES[: NAMES.index("publish")]}
    best_before, _ = read_best(run.store, run.experiment.name)
    published = publish_run(
        run,
        read_winner(session),
        ref,
        model,
        earlier,
        lambda manifest: judge_again(session, manifest),
    )
    promotion = published.promotion
    tell_publication(run.experiment.name, published)
    previous = best_before.version if best_before else None
    if previous == published.version:  # what a crash left is done again
        previous = None
    result = {"version": published.version, "uri": published.uri, **promotion._asdict()}
    result |= {"previous_version": previous, "notes": list(published.notes)}
    if promotion.best:
        tell_promotion(session, published, previous)
        notify_promoted(format_publication(run.experiment.name, result), published.uri)
    track_publication(session, published, earlier["evaluate"]["metrics"])
    return result, []


def tell_promotion(session: Session, published: Publication, previous: str | None) -> None:
    """Emit the event of a new best; that it can't be is a warning, for the version is the best."""
    promotion, run = published.promotion, session.run
    best = NewBest(
        version=published.version,
        value=promotion.value,
        previous_version=previous,
        previous_value=promotion.previous,
        run_id=run.run_id,
        uri=published.uri,
    )
    try:
        emit_promoted(run.experiment.name, best)
    except Exception as error:  # whatever a socket raises
        log.warning("publish  Prefect was not told of the promotion: %s", extract_message(error))


def track_publication(session: Session, published: Publication, metrics: dict[str, float]) -> None:
    """Show the version in W&B: its pictures, and the model as made from the dataset."""
    tracked, name = session.track("evaluate", read_winner(session)), session.run.experiment.name
    tracked.show({f"pictures/{key}": Picture(png, key) for key, png in published.pictures.items()})
    tracked.set_summary(metrics | {"version": published.version})
    tracked.log_reference(refer_to_model(name, published, metrics))
    if published.promotion.best:
        told = format_promotion(published.promotion._asdict() | {"notes": published.notes})
        tracked.alert(f"{name} has a new best", f"{name}@{published.version}: {told}")
    tracked.finish()


def judge_again(session: Session, manifest: Manifest) -> float | None:
    """The bound of a published version on this run's validation split, in nats per image.

    With the K and the binarisation of all validation bounds; None if it takes other images.
    """
    store, experiment, ref = session.run.store, read_winner(session), session.dataset
    with open_temporary("judge") as folder:
        pull(store, manifest.name, manifest.version, Path(folder) / "model")
        model = load_model(Path(folder) / "model")
    if model.shape != ref.shape:
        return None
    log.info("publish  %s is judged again on %s", manifest.version, ref.key)
    return bound_validation(model, experiment, ref, store, session.resources)[0]
