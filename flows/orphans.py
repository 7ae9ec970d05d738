"""Runs that Prefect's server believes at work, and whose process on this machine is gone.

After kill -9 or a power cut nobody tells the server: it would show such a run as Running for ever,
and hold its deployment's slot. Who takes runs on this machine, `vae serve` or the worker of
infra/worker.sh, tells it when started again. As a program: the same for a worker, see `main`.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import AwaitingRetry, Cancelled, Crashed

from flows.notices import notify_end
from flows.server import check_answers
from vae.errors import UserError

MACHINE = "prefect.worker.name"  # the label that Prefect's workers give, ours named after theirs
HAND_OVER = "--hand-over"
RUN, WORKER = "PREFECT__FLOW_RUN_ID", "PREFECT__WORKER_NAME"  # in an engine's environment
UNREADABLE = "another user's"
JUST_S = 30.0  # how long ago a run may have crashed for its worker's end to be the cause
ATTEMPTS = 20  # how often a run may be begun before it is no more handed over
STARTING_S = 5.0  # how long a run may be Pending without a process
AT_WORK = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
ENGINES = ("prefect.engine", "prefect.runner._workspace_supervisor")
BOOTSTRAP = "_workspace_runtime_bootstrap.py"  # the engine's program where uv starts it
Environment = dict[str, str]


async def report_crashes() -> None:
    """Tell the server, and VAE_NOTIFY, that the orphans of this machine have crashed.

    Their slots are free then, and the deployment's next run continues what they have stored.
    """
    what = f"its process on {socket.gethostname()} is gone, by kill -9 or a power cut"
    async with get_client() as client:
        for run in await find_orphans(client):
            flow = await client.read_flow(run.flow_id)
            crashed: State = Crashed(message=f"{what}; the deployment's next run continues it")
            if state := await settle(client, run, crashed, what):
                await asyncio.to_thread(notify_end, flow, run, state)


async def hand_over() -> None:
    """End what a worker that is gone has left at work here; another worker goes on with it."""
    while left := [pid for pid, env in list_engines() if env.get(WORKER) == socket.gethostname()]:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # a SIGTERM would be told as a crash
        await asyncio.sleep(0.1)
    what = f"its worker on {socket.gethostname()} was stopped"
    async with get_client() as client:
        for run in await find_orphans(client) + await list_just_crashed(client):
            due = run.expected_start_time  # before any run that has become due since
            told = f"{what}; another continues it"
            later: State = AwaitingRetry(scheduled_time=due, message=told)
            if run.run_count > ATTEMPTS:  # it may be what ends every worker
                later = Crashed(message=f"{what}, for the {run.run_count}th time")
            await settle(client, run, later, what)


async def settle(client: PrefectClient, run: FlowRun, state: State, what: str) -> State | None:
    """Set the run's state, whatever the server believes: Cancelled if that was asked for.

    None is set of a run that has come to its end since it was read, before its process did.
    """
    now = await client.read_flow_run(run.id)
    if now.state and now.state.is_final() and now.state_type != run.state_type:
        return None
    if now.state_type == StateType.CANCELLING:
        state = Cancelled(message=what)
    await client.set_flow_run_state(run.id, state, force=True)
    print(f"{run.name} ({run.id}): {state.message}", flush=True)
    return state


async def find_orphans(client: PrefectClient) -> list[FlowRun]:
    """The runs that this machine took, that are not at an end, and that have no process here."""
    orphans = await list_without_process(client)
    if any(run.state_type == StateType.PENDING for run in orphans):
        await asyncio.sleep(STARTING_S)
        known = {run.id for run in orphans}
        orphans = [run for run in await list_without_process(client) if run.id in known]
    return orphans


async def list_just_crashed(client: PrefectClient) -> list[FlowRun]:
    """The runs of this machine that have just crashed: a flow can't outlive its Ray node."""
    since = datetime.now(UTC) - timedelta(seconds=JUST_S)
    crashed = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED]))
    runs = await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=crashed), sort=FlowRunSort.END_TIME_DESC
    )
    here = [run for run in runs if run.labels.get(MACHINE) == socket.gethostname()]
    return [run for run in here if run.state and run.state.timestamp > since]


async def list_without_process(client: PrefectClient) -> list[FlowRun]:
    """The runs of this machine that the server believes at work and that have no process."""
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=AT_WORK)))
    runs: list[FlowRun] = []
    while page := await client.read_flow_runs(flow_run_filter=wanted, offset=len(runs)):
        runs += page
    at_work = {environment.get(RUN) for _, environment in list_engines()}
    left = [run for run in runs if run.labels.get(MACHINE) == socket.gethostname()]
    left = [run for run in left if str(run.id) not in at_work]
    if left and UNREADABLE in at_work:
        print(f"{len(left)} runs have crashed, or are another user's: left as they are", flush=True)
        return []
    return left


def list_engines() -> Iterator[tuple[int, Environment]]:
    """The process id and the environment of each process on this machine that runs a flow.

    A run's environment names it, so no other process of the same id is taken for it. That of
    another user's process names UNREADABLE.
    """
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
            words = (process / "cmdline").read_text(errors="replace").split("\0")
            if any(word in ENGINES or word.endswith(BOOTSTRAP) for word in words):
                yield int(process.name), read_environment(process)


def read_environment(process: Path) -> Environment:
    """A process's environment. Raises FileNotFoundError or ProcessLookupError if it has ended."""
    try:
        entries = (process / "environ").read_text(errors="replace").split("\0")
    except PermissionError:
        return {RUN: UNREADABLE}
    return {name: value for name, _, value in (entry.partition("=") for entry in entries)}


def main() -> None:
    """Report the orphans of this machine's worker; with --hand-over, have another go on with them.

    The first is for when a worker starts, the second for when it was ended.
    """
    try:
        check_answers()
        asyncio.run(hand_over() if HAND_OVER in sys.argv[1:] else report_crashes())
    except UserError as error:
        print(f"vae: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
