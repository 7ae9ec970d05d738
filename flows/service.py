"""What runs the scheduled deployments from this machine, and how it ends."""

import asyncio
import signal
from typing import Self

from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner

STOPS = (signal.SIGINT, signal.SIGTERM)


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
        self.ending = asyncio.create_task(self.end_when_asked())
        return entered

    async def end_when_asked(self) -> None:
        """Cancel the run at work, here and on the server; then `start` pauses and returns."""
        await self.asked.wait()
        await self.astop()


async def serve_until_stopped(deployments: list[RunnerDeployment]) -> None:
    """Register the deployments and run what is due, one run at a time, until SIGINT or SIGTERM.

    By then the run at work is cancelled and the schedules are paused.
    """
    service, loop = Service(), asyncio.get_running_loop()
    for number in STOPS:
        loop.add_signal_handler(number, service.handle_sigterm)
    for deployment in deployments:
        await service.aadd_deployment(deployment)
        print(f"serving {deployment.full_name}", flush=True)
    await service.start()
