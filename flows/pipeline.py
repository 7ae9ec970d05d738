"""The pipeline as a Prefect flow: data, search, train, evaluate, publish."""

import logging
import os
from typing import Any, Literal

from prefect import flow
from prefect.runtime import flow_run

from flows import tasks
from flows.session import opened
from vae.cluster.session import Workers
from vae.errors import UserError
from vae.experiments.loading import Experiment, load_experiment
from vae.runs.run import open_run
from vae.store import open_store

log = logging.getLogger("vae.pipeline")
Stage = Literal["data", "search", "train", "evaluate", "publish"]
Settings = dict[str, Any]  # a table as well, such as search.space; load_experiment checks them
STAGES: dict[Stage, Any] = {
    "data": tasks.data,
    "search": tasks.search,
    "train": tasks.train,
    "evaluate": tasks.evaluate,
    "publish": tasks.publish,
}


@flow(name="pipeline", flow_run_name="{experiment}-{until}", persist_result=False)
def pipeline(
    experiment: str | None = "mnist",
    overrides: Settings | None = None,
    store: str | None = None,
    run_id: str | None = None,
    workers: str = "auto",
    until: Stage = "publish",
) -> dict[str, Any]:
    """Take a dataset to a published model; do only what the store does not hold yet.

    Args:
        experiment: a shipped experiment's name, or a TOML file's path; none to continue run_id
        overrides: settings to replace, by dotted name, e.g. {"train.epochs": 5}
        store: a folder, file:///path or s3://bucket/prefix; else VAE_STORE, else ./store
        run_id: continue this run; a new one takes its id from the flow run
        workers: training workers: auto (one per GPU), a number, or MIN:MAX
        until: the last stage to run
    """
    return run_stages(until, experiment, overrides, store, run_id, workers)


def run_stages(
    until: Stage,
    experiment: str | None,
    overrides: Settings | None,
    store: str | None,
    run_id: str | None,
    workers: str,
) -> dict[str, Any]:
    """Run the stages in order up to `until`; its result, the run's id, and where W&B keeps it."""
    logging.getLogger("vae").setLevel(logging.INFO)  # or a served run would show no progress
    settings = load_experiment(experiment, overrides) if experiment else None
    opened_store = open_store(store or os.environ.get("VAE_STORE", "./store"))
    run = open_run(opened_store, run_id or id_of_flow_run(settings), settings)
    with opened(run, Workers.parse(workers)) as session:
        for stage, task in STAGES.items():
            result: dict[str, Any] = task(session)
            if stage == until:
                break
    log.info("time     %s", session.time_split())
    where = {"urls": session.tracker.urls, "paths": [str(p) for p in session.tracker.paths]}
    return {"run_id": run.run_id, "stage": until, "result": result, "wandb": where}


def id_of_flow_run(experiment: Experiment | None) -> str:
    """The same id for every attempt at one flow run, so that Prefect's retries continue it.

    Raises UserError if there is no experiment to begin with.
    """
    if experiment is None:
        raise UserError("neither experiment nor run_id is given: name one to begin or continue")
    return f"{experiment.name}-{flow_run.get_id()}"
