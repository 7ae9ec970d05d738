"""What workers tell the driver while they train, and what the driver itself sees meanwhile."""

import contextvars
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Self

import ray
from ray.exceptions import RayError
from ray.util import placement_group_table
from ray.util.queue import Empty, Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vae.cluster.session import Resources

log = logging.getLogger("vae.cluster.events")
Event = dict[str, Any]
POLL_S = 0.2
QUIET_S = 30.0  # without an event, before it is looked into
LOOK_S = 5.0  # between looks from then on
LINE_S = 60.0  # between lines of what is waited for
LAST_LOOK_S = 5.0  # at the end: where the session was lost, the queue does not answer


def start_queue() -> Queue:
    """The queue of a fit's events, whose process Ray starts again whenever it is lost.

    What it held is lost then: progress of less than POLL_S. It is on this process's node, or the
    loss of another one would take it away for good.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    lasting = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    return Queue(actor_options={**lasting, "scheduling_strategy": here})


class Follower(threading.Thread):
    """A context that hands events to `on_event` on its own thread, while the main one blocks."""

    def __init__(
        self, events: Queue, on_event: Callable[[Event], None], resources: Resources
    ) -> None:
        super().__init__(name="follow-fit", daemon=True)
        self.events, self.on_event, self.resources = events, on_event, resources
        self.look_at = time.monotonic() + QUIET_S
        self.over = threading.Event()
        self.refused: Future[None] = Future()  # fails with what a worker says the user has to fix
        self.context = contextvars.copy_context()  # of the flow run: its logs belong to it

    def run(self) -> None:
        """Poll until the context ends and nothing is left."""
        self.context.run(self.poll)

    def poll(self) -> None:
        """Pass on what comes, in the context of whoever started to follow."""
        while True:
            last_look = self.over.is_set()
            try:
                self.pass_on()
            except RayError:  # the session is gone: the fit itself ends, and says why
                return
            if last_look:
                return
            self.over.wait(POLL_S)

    def pass_on(self) -> None:
        """Tell what has come since; if that is nothing for long, what training waits for."""
        try:
            came = self.events.get_nowait_batch(self.events.qsize())
        except Empty:  # its process was lost between the two
            came = []
        for event in came:
            self.tell(event)
        if came:
            self.look_at = time.monotonic() + QUIET_S
        elif time.monotonic() > self.look_at:
            if shortage := find_shortage(self.resources):
                log.warning("train    %s", shortage)
            self.look_at = time.monotonic() + (LINE_S if shortage else LOOK_S)

    def tell(self, event: Event) -> None:
        """Pass an event on; a worker's warning is logged here, where people look.

        Of what the user has to fix, the first worker's word is taken.
        """
        if "warning" in event:
            logging.getLogger(event["logger"]).warning("%s", event["warning"])
        elif "refused" in event:
            if not self.refused.done():
                self.refused.set_exception(event["refused"])
        else:
            self.on_event(event)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join(LAST_LOOK_S)


def find_shortage(resources: Resources) -> str | None:
    """What the workers of this process's training wait for, if they have no place yet."""
    states = {group["state"] for group in list_placement_groups()}
    if "CREATED" in states and "PENDING" not in states:
        return None
    kind = "GPU" if resources.use_gpu else "CPU"
    there = int(ray.cluster_resources().get(kind, 0))
    free = int(ray.available_resources().get(kind, 0))
    if free >= resources.fewest:  # they are about to get it
        return None
    return (
        f"waits for {resources.fewest} {kind}s: the cluster has {there}, {free} of them free; "
        "it goes on when there are enough"
    )


def list_placement_groups() -> list[dict[str, Any]]:
    """What this process's work has asked of the cluster as a whole, as Ray describes it."""
    job = ray.get_runtime_context().get_job_id()  # with which the ids of all that it made end
    groups = [one for key, one in placement_group_table().items() if key.endswith(job)]
    return [group for group in groups if group["state"] != "REMOVED"]
