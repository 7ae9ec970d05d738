"""Which run in the store a flow run continues: its own, or that of a predecessor that crashed."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterStartTime,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from vae.errors import UserError
from vae.experiments.settings import Experiment
from vae.runs.run import EXPERIMENT, Run, open_run
from vae.store.promises import Store

log = logging.getLogger("vae.pipeline")
BEGUN_BY = "vae.begun-by"  # the label of a flow run that names the one that began its run
Begin = Callable[[str], Experiment]  # the experiment as the flow run of an id begins it


def open_own_or_crashed(store: Store, until: str, begin: Begin) -> Run:
    """The run in the store that this flow run continues, or begins.

    A deployment's flow run takes over what one before it left unfinished by a crash, if that had
    the same parameters and settings, and none has completed since. What was chosen is kept as a
    label, so that every attempt at a flow run continues the same run.
    """
    own, context = str(flow_run.get_id()), FlowRunContext.get()
    this = context.flow_run if context else None
    if this is None or this.deployment_id is None:
        return open_begun_by(store, begin, own)
    with get_client(sync_client=True) as client:
        begun_by = read_beginning(client.read_flow_run(this.id))
        if begun_by != own:
            return open_begun_by(store, begin, begun_by)
        run = take_over(client, this, store, until, begin) or open_begun_by(store, begin, own)
    return run


def take_over(
    client: SyncPrefectClient, this: FlowRun, store: Store, until: str, begin: Begin
) -> Run | None:
    """The run of the newest predecessor that crashed before its end, if it can be continued."""
    if store.exists(f"runs/{name_run(begin, str(this.id))}/{EXPERIMENT}"):
        return None  # another attempt at a flow run that began its own
    for crashed in list_crashed(client, this):
        begun_by = read_beginning(crashed)
        if run := find_unfinished(store, until, begin, begun_by):
            client.update_flow_run_labels(this.id, {BEGUN_BY: begun_by})
            log.info("run      continues that of flow run '%s', which crashed", crashed.name)
            return run
    return None


def list_crashed(client: SyncPrefectClient, this: FlowRun) -> Iterator[FlowRun]:
    """What the same deployment ran with the same parameters and crashed, newest first.

    Back to the last that completed, and none whose run another one is at work on or has ended.
    """
    deployments = [this.deployment_id] if this.deployment_id else []
    found = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=deployments),
            start_time=FlowRunFilterStartTime(is_null_=False),
        ),
        sort=FlowRunSort.START_TIME_DESC,
    )
    before = [run for run in found if run.id != this.id and run.parameters == this.parameters]
    taken = {read_beginning(run) for run in before if not (run.state and run.state.is_final())}
    for run in before:
        if run.state and run.state.is_completed():
            return
        if run.state and run.state.is_crashed() and read_beginning(run) not in taken:
            yield run
        taken.add(read_beginning(run))


def find_unfinished(store: Store, until: str, begin: Begin, begun_by: str) -> Run | None:
    """The run that a flow run began, unless it began none, or it is done or can't be continued."""
    if not store.exists(f"runs/{name_run(begin, begun_by)}/{EXPERIMENT}"):
        return None
    try:
        run = open_begun_by(store, begin, begun_by)
        return None if run.read_result(until) else run
    except UserError as error:
        log.info("run      a new one, because the one that crashed can't be continued: %s", error)
        return None


def open_begun_by(store: Store, begin: Begin, flow_run_id: str) -> Run:
    """The run that a flow run begins, or began."""
    return open_run(store, name_run(begin, flow_run_id), begin(flow_run_id))


def name_run(begin: Begin, flow_run_id: str) -> str:
    """The run's id: the same for every attempt at the flow run that begins it."""
    return f"{begin(flow_run_id).name}-{flow_run_id}"


def read_beginning(run: FlowRun) -> str:
    """The id of the flow run that began the run that this one continues: mostly its own."""
    labels: dict[str, Any] = run.labels
    return str(labels.get(BEGUN_BY, run.id))
