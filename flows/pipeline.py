"""The pipeline as a Prefect flow: data, search, train, evaluate, publish."""

import logging
import os
from dataclasses import replace
from typing import Annotated, Any

from prefect import State, flow
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field

from flows.artifacts import show_model, show_trials
from flows.notices import notify_end
from flows.progress import format_publication
from flows.session import Session, open_session
from flows.stages import NAMES, STAGES, Stage, check_stage
from flows.takeover import Begin, open_own_or_crashed
from flows.tasks import make_task, run_task
from vae.cluster.session import Workers
from vae.data.datasets import locate, prepare
from vae.errors import UserError
from vae.experiments.loading import load_experiment
from vae.experiments.settings import SEEDS, Experiment
from vae.models.seeds import derive_seed
from vae.publishing.recipe import find_published
from vae.registry.read import check_published
from vae.runs.run import Run, mark_at_work, open_run
from vae.store.open import open_store
from vae.store.probe import check_promises
from vae.store.promises import Store

log = logging.getLogger("vae.pipeline")
GivenOverrides = dict[str, Any]  # by dotted name; a table as well, such as search.space
StageName = Annotated[str, Field(json_schema_extra={"enum": NAMES})]  # a list to pick from


@flow(
    name="pipeline",
    flow_run_name="{experiment}-{until}",
    persist_result=False,
    on_failure=[notify_end],
    on_crashed=[notify_end],
    on_cancellation=[notify_end],
)
def pipeline(
    experiment: str | None = "mnist",
    overrides: GivenOverrides | None = None,
    store: str | None = None,
    run_id: str | None = None,
    workers: str = "auto",
    until: StageName = "publish",
    skip_unchanged: bool = False,
    new_seed: bool = False,
    time_budget: str | None = None,
) -> State[dict[str, Any]]:
    """Take a dataset to a published model; do only what the store does not hold yet.

    Args:
        experiment: a shipped experiment's name, or a TOML file's path; none to continue run_id
        overrides: settings to replace, by dotted name, e.g. {"train.epochs": 5}
        store: a folder, file:///path or s3://bucket/prefix; else VAE_STORE, else ./store
        run_id: continue this run; a new one takes its id from the flow run
        workers: training workers: auto (one per GPU), a number, or MIN:MAX
        until: the last stage to run
        skip_unchanged: do nothing if a version of the same data and settings is published
        new_seed: train with a seed of the flow run's own, another at every run
        time_budget: time after which no trial and no epoch is begun: 90s, 30m or 2h
    """
    logging.getLogger("vae").setLevel(logging.INFO)  # or a served run would show no progress
    if time_budget:
        overrides = (overrides or {}) | {"time_budget": time_budget}
    begin = make_begin(experiment, overrides, new_seed and run_id is None) if experiment else None
    if skip_unchanged and run_id is None and begin and until == "publish":
        version = find_unchanged(begin(str(flow_run.get_id())), choose_store(store))
        if version:
            log.info("publish  nothing new since %s", version)
            nothing = {"run_id": None, "stage": until, "result": {"version": version}}
            return Completed(message=f"nothing new since {version}", data=nothing)
    ended = run_stages(until, begin, store, run_id, workers)
    return Completed(message=ended["told"], data=ended)


def find_unchanged(experiment: Experiment, store: Store) -> str | None:
    """The newest version that the same dataset and settings were published as, if any.

    Fetches the dataset, because what is in a folder of images may have changed.
    """
    begun = replace(experiment, data=locate(experiment.data))  # as a run of it would
    ref = prepare(begun.data, store)
    return find_published(store, begun, ref.digest)


def choose_store(uri: str | None) -> Store:
    """The store that was given, or else VAE_STORE, or ./store."""
    return open_store(uri or os.environ.get("VAE_STORE", "./store"))


def make_begin(experiment: str, overrides: GivenOverrides | None, new_seed: bool) -> Begin:
    """What a flow run begins with: with `new_seed`, every one and all its attempts with another."""

    def begin(flow_run_id: str) -> Experiment:
        seed = {"seed": derive_seed(0, "flow run", flow_run_id) % SEEDS} if new_seed else {}
        return load_experiment(experiment, seed | (overrides or {}))

    return begin


def run_stages(
    until: str, begin: Begin | None, store: str | None, run_id: str | None, workers: str
) -> dict[str, Any]:
    """Run the stages in order up to `until`; what came of it, the run's id, where W&B keeps it.

    `begin`: the experiment to begin with, by the id of the flow run; none to continue `run_id`.
    """
    last = NAMES.index(check_stage(until))
    opened_store = choose_store(store)
    run = choose_run(opened_store, until, begin, run_id)
    if until == "publish":
        check_promises(opened_store)  # now, not after hours of training
    mark_at_work(run)
    with open_session(run, Workers.parse(workers)) as session:
        for stage in STAGES[: last + 1]:
            result = run_stage(stage, session)
    published_before = until == "publish" and until not in session.times
    if published_before:
        check_published(opened_store, run.experiment.name, result["version"])
    log.info("time     %s", session.format_times())
    where = {"urls": session.tracker.urls, "paths": [str(p) for p in session.tracker.paths]}
    told = describe_outcome(until, run, result)
    if run_id is None and not run.run_id.endswith(str(flow_run.get_id())):
        told += f"; run {run.run_id} of one that crashed"
    ended = {"run_id": run.run_id, "stage": until, "result": result, "wandb": where, "told": told}
    if (searched := run.read_result("search")) and searched["trials"]:
        show_trials(run, searched)
    if until == "publish":
        show_model(run, ended)
    return ended


def describe_outcome(until: str, run: Run, result: dict[str, Any]) -> str:
    """What came of the run, for Prefect's state message."""
    if until != "publish":
        return f"run {run.run_id} is done up to {until}"
    return format_publication(run.experiment.name, result)


def run_stage(stage: Stage, session: Session) -> Any:
    """A stage's result, from a Prefect task that does its work unless the store has it."""
    work = stage.load()

    def run(session: Session) -> dict[str, Any]:
        return session.run_once(stage.name, lambda: work(session))

    return run_task(make_task(stage, run, session.run.run_id), session)


def choose_run(store: Store, until: str, begin: Begin | None, run_id: str | None) -> Run:
    """The run of an id that was given, else the one that this flow run begins or takes over.

    Raises UserError if there is no experiment to begin with.
    """
    own = str(flow_run.get_id())
    if run_id is not None:
        return open_run(store, run_id, begin(own) if begin else None)
    if begin is None:
        raise UserError("neither experiment nor run_id is given: name one to begin or continue")
    return open_own_or_crashed(store, until, begin)
