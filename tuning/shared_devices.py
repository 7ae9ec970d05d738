"""Which process trains which trials, and when: an actor between those of Tune and of the devices.

Tune has a process for each trial, which holds the trial's share of a device and trains nothing. All
trials of one device are trained by another process, an epoch of each at a time.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tuning.device_trials import DeviceProcess
from tuning.told import Told
from tuning.trial import TrialJob

LOST_S = 10.0  # without a word from a trial, after which others no longer wait for it
GATHER_S = 0.5  # in which trials that begin at the same time have all asked
Place = tuple[str, str]  # the node and, if there are any, the GPU that Ray has given a trial


class Device:
    """A process that trains trials in rounds: an epoch of each that has asked for one.

    A round waits for the trials of the last one, so that those of a stack stay together.
    """

    def __init__(self, process: Any, room: int) -> None:
        self.process, self.room, self.lost = process, room, False
        self.present, self.due = set[str](), set[str]()  # trials; those of the last round
        self.asked: dict[str, tuple[dict[str, Any], asyncio.Future[list[Told]]]] = {}
        self.news = asyncio.Event()
        self.rounds: asyncio.Task[None] | None = None

    async def advance(self, name: str, candidate: dict[str, Any]) -> list[Told]:
        """What a trial tells next; nothing after its last epoch. Raises what ended it."""
        answer: asyncio.Future[list[Told]] = asyncio.get_running_loop().create_future()
        self.asked[name] = (candidate, answer)
        self.present.add(name)
        self.news.set()
        if self.rounds is None or self.rounds.done():
            self.rounds = asyncio.create_task(self.run_rounds())
        return await answer

    def leave(self, name: str) -> None:
        """Forget a trial that has ended, or was stopped."""
        self.present.discard(name)
        self.due.discard(name)
        self.news.set()
        self.process.leave.remote([name])

    async def run_rounds(self) -> None:
        """Train for as long as there are trials that ask."""
        while self.asked:
            await self.assemble()
            asked, self.asked = self.asked, {}
            self.due = set(asked)
            candidates = {name: candidate for name, (candidate, _) in asked.items()}
            try:
                outcomes = await self.process.advance.remote(candidates)
            except Exception as error:  # of all: the process is gone, or of no more use
                self.lost, outcomes = True, dict.fromkeys(asked, error)
                ray.kill(self.process)
            for name, (_, answer) in asked.items():
                if isinstance(outcome := outcomes[name], Exception):
                    answer.set_exception(outcome)
                else:
                    answer.set_result(outcome)

    async def assemble(self) -> None:
        """Wait until those of the last round have asked; if there are none, until all may have."""
        began_anew = not self.due
        with suppress(TimeoutError):
            async with asyncio.timeout(GATHER_S if began_anew else LOST_S):
                while len(self.asked) < self.room if began_anew else self.due - self.asked.keys():
                    self.news.clear()
                    await self.news.wait()


class SharedDevices:
    """The actor: it begins a process for a device once a trial has a share of it."""

    def __init__(self, job: list[Any], room: int) -> None:
        self.job, self.room = job[0], room  # in a list, Ray leaves the reference what it is
        self.devices: dict[Place, list[Device]] = defaultdict(list)
        self.of_trials: dict[str, Device] = {}

    async def advance(self, place: Place, name: str, candidate: dict[str, Any]) -> list[Told]:
        """What a trial tells next; nothing after its last epoch. Raises what ended it."""
        if name not in self.of_trials:
            self.of_trials[name] = self.find(place)
        return await self.of_trials[name].advance(name, candidate)

    async def leave(self, name: str) -> None:
        """Forget a trial that has ended, or was stopped."""
        if name in self.of_trials:
            self.of_trials.pop(name).leave(name)

    def find(self, place: Place) -> Device:
        """A device there with room for another trial. A node has as many CPUs as trials ask for."""
        for device in self.devices[place]:
            if len(device.present) < self.room and not device.lost:
                return device
        node, gpu = place
        here = NodeAffinitySchedulingStrategy(node, soft=False)
        process = ray.remote(DeviceProcess).options(num_cpus=0, scheduling_strategy=here)
        device = Device(process.remote(self.job, gpu), self.room)
        self.devices[place].append(device)
        return device


@contextmanager
def share_devices(job: TrialJob) -> Iterator[Any]:
    """A context with the actor, on this node; its processes end with it."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(SharedDevices).options(num_cpus=0, scheduling_strategy=here)
    devices = actor.remote([ray.put(job)], job.search.trials_per_device)
    try:
        yield devices
    finally:
        ray.kill(devices)
