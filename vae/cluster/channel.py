"""Between a fit's workers and its driver: what happens there, and whether to save at once."""

import asyncio
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

Event = dict[str, Any]


class Channel:
    """Events on their way to the driver, and its word to rank 0 in the answers.

    A process of Ray's. Ray's own queue knows one direction alone.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.training = self.asked = False
        self.saved = asyncio.Event()

    async def tell(self, event: Event) -> None:
        """Leave an event; any rank may."""
        self.events.append(event)

    async def report(self, event: Event) -> bool:
        """Leave one of how far training is; whether to save it at once. Rank 0 alone.

        Its `saved` says whether a checkpoint has just been written.
        """
        self.events.append(event)
        self.training = True
        if event["saved"]:
            self.asked = False
            self.saved.set()
        return self.asked

    async def take(self) -> list[Event]:
        """The events since the last time, which are the driver's from now on."""
        events, self.events = self.events, []
        return events

    async def ask_to_save(self) -> None:
        """Return once training has been saved; at once where it has not begun."""
        if self.training:
            self.asked = True
            self.saved.clear()
            await self.saved.wait()


def start_channel() -> ActorHandle[Channel]:
    """The channel of a fit, whose process Ray starts again whenever it is lost.

    What it held is lost then: progress of less than a poll. It is on this process's node, or the
    loss of another one would take it away for good.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    lasting = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    channel: ActorHandle[Channel] = (
        ray.remote(Channel).options(**lasting, scheduling_strategy=here).remote()
    )
    return channel
