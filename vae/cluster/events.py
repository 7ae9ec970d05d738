"""What workers tell the driver while they train, and what the driver itself sees meanwhile."""

import contextvars
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Self

import ray
import ray._private.state
from ray import PlacementGroupID
from ray.actor import ActorHandle
from ray.exceptions import RayError
from ray.util import placement_group_table
from ray.util.placement_group import PlacementGroup, remove_placement_group

from vae.cluster.channel import Channel, Event
from vae.cluster.session import Resources
from vae.errors import describe_error

log = logging.getLogger("vae.cluster.events")
POLL_S = 0.2
QUIET_S = 30.0  # without an event, before it is looked into
LOOK_S = 5.0  # between looks from then on
LINE_S = 60.0  # between lines of what is waited for
NOTICE_S = 2.0  # between looks for nodes that will be gone
LAST_LOOK_S = 5.0  # at the end: where the session was lost, the channel does not answer


class Follower(threading.Thread):
    """A context that hands events to `on_event` on its own thread, while the main one blocks."""

    def __init__(
        self,
        channel: ActorHandle[Channel],
        on_event: Callable[[Event], None],
        resources: Resources,
    ) -> None:
        super().__init__(name="follow-fit", daemon=True)
        self.channel, self.on_event, self.resources = channel, on_event, resources
        self.look_at = time.monotonic() + QUIET_S
        self.leaving, self.notice_at = set[str](), 0.0
        self.told = set[str]()  # what could not be passed on, told once
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
                self.heed_notices()
            except RayError:  # the session is gone: the fit itself ends, and says why
                return
            if last_look:
                return
            self.over.wait(POLL_S)

    def pass_on(self) -> None:
        """Tell what has come since; if that is nothing for long, what training waits for."""
        came: list[Event] = ray.get(self.channel.take.remote())
        for event in came:
            self.tell(event)
        if came:
            self.look_at = time.monotonic() + QUIET_S
        elif time.monotonic() > self.look_at:
            if shortage := find_shortage(self.resources):
                log.warning("train    %s", shortage)
            self.look_at = time.monotonic() + (LINE_S if shortage else LOOK_S)

    def heed_notices(self) -> None:
        """Have training saved when a node of the cluster is about to be taken away."""
        if time.monotonic() < self.notice_at:
            return
        self.notice_at = time.monotonic() + NOTICE_S
        leaving = list_leaving_nodes()
        if new := leaving - self.leaving:
            log.warning("train    %d of the cluster's nodes will be gone soon, saving", len(new))
            self.channel.ask_to_save.remote()
        self.leaving = leaving

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
            self.pass_to_view(event)

    def pass_to_view(self, event: Event) -> None:
        """Call `on_event`; the training, and what it has to be told, are none the worse for it."""
        try:
            self.on_event(event)
        except Exception as error:  # of a store, a server, a terminal
            if (reason := describe_error(error)) not in self.told:
                self.told.add(reason)
                log.warning("train    its progress is not shown in full: %s", reason)

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


def list_leaving_nodes() -> set[str]:
    """The ids of a cluster's nodes that have been told to end: they are preempted, or shut down.

    None of a local session, whose machine this process is told of by a signal.
    """
    if not os.environ.get("RAY_ADDRESS"):
        return set()
    return set(ray._private.state.state.get_draining_nodes())


def list_placement_groups() -> list[dict[str, Any]]:
    """What this process's work has asked of the cluster as a whole, as Ray describes it."""
    job = ray.get_runtime_context().get_job_id()  # with which the ids of all that it made end
    groups = [one for key, one in placement_group_table().items() if key.endswith(job)]
    return [group for group in groups if group["state"] != "REMOVED"]


def free_workers() -> None:
    """Give back the places that this process's work has in the cluster, and end what is in them."""
    for group in list_placement_groups():
        remove_placement_group(
            PlacementGroup(PlacementGroupID.from_hex(group["placement_group_id"]))
        )
