"""Notices of what became of a run, to whatever VAE_NOTIFY names: Slack, mail, a webhook, ...

VAE_NOTIFY holds Apprise URLs, separated by white space. They often hold secrets, so they are read
where a notice is sent and appear in no parameter, log or message.
"""

import logging
import os
from contextlib import suppress
from datetime import timedelta
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterStartTime,
)
from prefect.client.schemas.sorting import FlowRunSort
from prefect.utilities.urls import url_for

from flows.ending import AUTO, format_command
from flows.takeover import read_beginning
from vae.errors import UserError, extract_message
from vae.experiments.loading import load_experiment

log = logging.getLogger("vae.notices")
VARIABLE = "VAE_NOTIFY"


def notify_end(flow: Any, flow_run: Any, state: Any) -> None:
    """Prefect's hook for a run that failed, crashed or was cancelled: what, why, how to go on."""
    lines = [extract_message(ValueError(state.message or "no reason was given"))]
    lines += [f"continue: prefect flow-run retry {flow_run.id}"]
    if command := find_command(flow.name, flow_run.parameters, read_beginning(refresh(flow_run))):
        lines.append(f"or: {command}")
    if url := url_for(flow_run):
        lines.append(url)
    send_notice(f"{flow.name} {state.name.lower()}: {flow_run.name}", "\n".join(lines))


def notify_first_end(flow: Any, flow_run: Any, state: Any) -> None:
    """The same for a run that comes every few minutes: not if the one before ended so as well."""
    if not flow_run.deployment_id or not flow_run.start_time:
        return notify_end(flow, flow_run, state)
    before = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[flow_run.deployment_id]),
        start_time=FlowRunFilterStartTime(before_=flow_run.start_time - timedelta(microseconds=1)),
    )
    with suppress(httpx.HTTPError), get_client(sync_client=True) as client:
        newest_first = FlowRunSort.START_TIME_DESC
        runs = client.read_flow_runs(flow_run_filter=before, sort=newest_first, limit=1)
        if runs and runs[0].state_type == state.type:
            return
    notify_end(flow, flow_run, state)


def notify_promoted(told: str, uri: str) -> None:
    """Send a notice of a version that is the best now, and lies there."""
    send_notice(told, f"report: {uri}/report.html")


def refresh(flow_run: Any) -> Any:
    """A deployment's run with the labels that it has by now, or as it was if the server is away."""
    if flow_run.deployment_id is None:
        return flow_run
    try:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(flow_run.id)
    except httpx.HTTPError:
        return flow_run


def find_command(flow: str, parameters: dict[str, Any], begun_by: str) -> str:
    """The command that continues a run from its store; empty if the parameters name no run.

    `flow`: by name. `begun_by`: the flow run that began it, of which it has its id.
    """
    run_id = parameters.get("run_id")
    try:
        if run_id is None:
            chosen = load_experiment(parameters["experiment"], parameters.get("overrides"))
            run_id = f"{chosen.name}-{begun_by}"
    except (UserError, KeyError, TypeError):  # the run failed for that
        return ""
    store = parameters.get("store") or os.environ.get("VAE_STORE", "./store")
    until = parameters.get("until") or ("search" if flow == "search" else "publish")
    return format_command(until, run_id, store, parameters.get("workers") or AUTO)


def send_notice(title: str, body: str) -> None:
    """Send a notice to every URL in VAE_NOTIFY; one that can't be sent is a warning.

    A run is never the worse for it: nothing is raised.
    """
    urls = os.environ.get(VARIABLE, "").split()
    if not urls:
        return
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it would log the URLs
    for number, url in enumerate(urls, start=1):
        service = apprise.Apprise()
        if not service.add(url):
            log.warning("%s: URL %d of %d is no Apprise URL", VARIABLE, number, len(urls))
        elif not service.notify(title=title, body=body):
            log.warning("%s: the notice was not taken by URL %d of %d", VARIABLE, number, len(urls))
