"""What runs the scheduled deployments from this machine, and how it ends."""

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Self

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.runner._state_proposer import StateProposer

from flows.orphans import MACHINE, report_crashes
from vae.errors import UserError, extract_message

STOPS = (signal.SIGINT, signal.SIGTERM)
STOP_S = 75.0  # service managers wait 90 s before they kill


class Marker(StateProposer):
    """Says of every run, before it begins, that this machine takes it: who else may judge it dead?

    With the label by which Prefect's workers say so, so that the last who took a run is named.
    """

    async def propose_pending(self, flow_run: FlowRun) -> bool:
        await self._client.update_flow_run_labels(flow_run.id, {MACHINE: socket.gethostname()})
        return await super().propose_pending(flow_run)


class PatientLook:
    """A look for runs that are due, which waits until a server that is away answers again.

    After the third failure in a row Prefect's loop (3.8) would end, the service with it, and pause
    the schedules if the server is back by then.
    """

    def __init__(self, look: Callable[[], Awaitable[None]]) -> None:
        self.look, self.away = look, False

    async def __call__(self) -> None:
        """Look once. Raises httpx.HTTPStatusError for what the server refuses."""
        try:
            await self.look()
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            if isinstance(error, httpx.HTTPStatusError) and not error.response.is_server_error:
                raise
            self.tell(away=True, what=f"does not answer, waiting: {extract_message(error)}")
        else:
            self.tell(away=False, what="answers again")

    def tell(self, *, away: bool, what: str) -> None:
        """Print what is new of the server."""
        if away != self.away:
            print(f"Prefect's server {what}", flush=True)
        self.away = away


class Service(Runner):
    """Prefect's runner, which on a signal first ends what it has begun.

    On SIGTERM, Prefect's own (3.8) leaves the event loop from the middle of whatever that does, at
    times before the schedules are paused, and the server believes a run at work to run for ever.
    """

    def __init__(self) -> None:
        super().__init__(limit=1)
        self.asked = asyncio.Event()

    def handle_sigterm(self, *_: object) -> None:
        """End: `start` makes this the handler of SIGTERM, and the event loop has to wake up."""
        asyncio.get_running_loop().call_soon_threadsafe(self.asked.set)

    async def __aenter__(self) -> Self:
        entered = await super().__aenter__()
        poller = self._scheduled_run_poller
        poller._state_proposer = Marker(client=self._client)
        look = PatientLook(poller._get_and_submit_flow_runs)
        poller._get_and_submit_flow_runs = look  # type: ignore[method-assign, assignment]
        self.ending = asyncio.create_task(self.end_when_asked())
        return entered

    async def end_when_asked(self) -> None:
        """Cancel the run at work, here and on the server; then `start` pauses and returns."""
        await self.asked.wait()
        poller = self._scheduled_run_poller
        poller.stopping = True
        while poller._submitting_flow_run_ids:  # one that is being started has no process yet
            await self.cancel_all()
            await asyncio.sleep(0.1)
        await self.astop()

    async def cancel_all(self) -> None:
        """Cancel the runs at work, but for one that has ended and whose process has not yet."""
        for flow_run_id in self._process_manager.flow_run_ids():
            run = await self._client.read_flow_run(flow_run_id)
            if run.state is None or not run.state.is_final():
                await self._cancellation_manager.cancel(run, "The service was stopped.")

    async def kill_all(self) -> None:
        """End the processes of the runs at work, whatever the server says."""
        for flow_run_id in self._process_manager.flow_run_ids():
            await self._process_manager.kill(flow_run_id, force=True)


async def serve_until_stopped(deployments: list[RunnerDeployment]) -> None:
    """Register the deployments and run what is due, one run at a time, until SIGINT or SIGTERM.

    First the runs of this machine that an earlier service left without a process are reported.
    By then the run at work is cancelled and the schedules are paused. Raises UserError if that took
    longer than STOP_S, as it does when the server no longer answers.
    """
    service, loop = Service(), asyncio.get_running_loop()
    for number in STOPS:
        loop.add_signal_handler(number, service.handle_sigterm)
    for deployment in deployments:
        await drop_other_schedules(deployment)
        await service.aadd_deployment(deployment)
        print(f"serving {deployment.full_name}", flush=True)
    await report_crashes()
    serving = asyncio.create_task(service.start())
    asked = asyncio.create_task(service.asked.wait())
    await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait({serving}, timeout=STOP_S)
    if not serving.done():
        await service.kill_all()
        raise UserError(
            "stopped, but Prefect's server does not answer: for it the schedules are still active, "
            "and a run that was at work goes on"
        )
    await serving


async def drop_other_schedules(deployment: RunnerDeployment) -> None:
    """Delete the schedules that the server has and the file has not: registering keeps them.

    Those without a slug can't be told apart, and are made anew by registering.
    """
    listed = {schedule.slug for schedule in deployment.schedules or [] if schedule.slug}
    async with get_client() as client:
        try:
            known = await client.read_deployment_by_name(deployment.full_name)
        except ObjectNotFound:
            return
        for schedule in known.schedules:
            if schedule.slug not in listed:
                await client.delete_deployment_schedule(known.id, schedule.id)
