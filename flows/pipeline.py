"""The pipeline as a Prefect flow: data, search, train, evaluate, publish."""

import logging
from typing import Any, Literal

from prefect import flow
from prefect.runtime import flow_run

from flows import tasks
from flows.session import opened
from vae.cluster import Workers
from vae.experiment import Experiment, load_experiment
from vae.runs import open_run
from vae.store import open_store

log = logging.getLogger("vae.pipeline")
Stage = Literal["data", "search", "train", "evaluate", "publish"]
STAGES: dict[Stage, Any] = {
    "data": tasks.data,
    "search": tasks.search,
    "train": tasks.train,
    "evaluate": tasks.evaluate,
    "publish": tasks.publish,
}


@flow(name="pipeline", flow_run_name="{experiment}-{until}", persist_result=False)
def pipeline(
    experiment: str = "mnist",
    overrides: dict[str, str | int | float | bool | list[int]] | None = None,
    store: str = "./store",
    run_id: str | None = None,
    workers: str = "auto",
    until: Stage = "publish",
    began: float | None = None,
) -> dict[str, Any]:
    """Take a dataset to a published model; do only what the store does not hold yet.

    Args:
        experiment: a shipped experiment's name, or the path of a TOML file
        overrides: settings to replace, by dotted name, e.g. {"train.epochs": 5}
        store: where everything is kept: a folder, file:///path or s3://bucket/prefix
        run_id: continue this run; a new one takes its id from the flow run
        workers: training workers: auto (one per GPU), a number, or MIN:MAX
        until: the last stage to run
        began: when the clock started, in seconds since the epoch; now if not given
    """
    settings = load_experiment(experiment, overrides)
    run = open_run(open_store(store), run_id or id_of_flow_run(settings), settings)
    with opened(run, Workers.parse(workers), began) as session:
        for stage, task in STAGES.items():
            result: dict[str, Any] = task(session)
            if stage == until:
                break
    log.info("time     %s", session.time_split())
    where = {"urls": session.tracker.urls, "paths": [str(p) for p in session.tracker.paths]}
    return {"run_id": run.run_id, "stage": until, "result": result, "wandb": where}


def id_of_flow_run(experiment: Experiment) -> str:
    """The same id for every attempt at one flow run, so that Prefect's retries continue it."""
    return f"{experiment.name}-{flow_run.get_id()}"
