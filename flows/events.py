"""The events that this code emits on Prefect's bus, for deployments and automations to fire on."""

import asyncio
from typing import Any, NamedTuple

from prefect.events import Event, RelatedResource, Resource
from prefect.events.clients import get_events_client
from prefect.runtime import flow_run

from vae.registry.promote import METRIC

DATA_CHANGED = "vae.data.changed"
PROMOTED = "vae.model.promoted"
DELETED = "vae.model.deleted"


def emit_data_changed(name: str, payload: dict[str, Any]) -> None:
    """Say that a folder or a prefix of images is not as it was; raises if it can't be said."""
    emit(DATA_CHANGED, f"vae.data.{name}", name, payload)


class NewBest(NamedTuple):
    """A version that is a model's best now, and the one that was before; values in nats."""

    version: str
    value: float
    previous_version: str | None
    previous_value: float | None
    run_id: str  # that made the version
    uri: str


def emit_promoted(name: str, best: NewBest) -> None:
    """Say that a version is a model's best from now on; raises if it can't be said."""
    payload = {
        "model": name,
        "version": best.version,
        "metric": METRIC,
        "value": best.value,
        "previous": {"version": best.previous_version, "value": best.previous_value},
        "run_id": best.run_id,
        "uri": best.uri,
    }
    emit(PROMOTED, f"vae.model.{name}", name, payload)


def emit_deleted(name: str, payload: dict[str, Any]) -> None:
    """Say that a version of a model is no more; raises if it can't be said."""
    emit(DELETED, f"vae.model.{name}", name, {"model": name} | payload)


def emit(event: str, resource_id: str, name: str, payload: dict[str, Any]) -> None:
    """Send one event, and return once the server has it."""
    resource = {"prefect.resource.id": resource_id, "prefect.resource.name": name}
    told = Event(
        event=event,
        resource=Resource.model_validate(resource),
        related=relate_flow_run(),
        payload=payload,
    )
    asyncio.run(send(told))


def relate_flow_run() -> list[RelatedResource]:
    """The flow run that this process is at, if it is at one."""
    if (run_id := flow_run.get_id()) is None:
        return []
    related = {"prefect.resource.id": f"prefect.flow-run.{run_id}"}
    return [RelatedResource.model_validate(related | {"prefect.resource.role": "flow-run"})]


async def send(event: Event) -> None:
    """Send an event and wait until it has arrived, which Prefect's own `emit_event` does not."""
    async with get_events_client(checkpoint_every=1) as client:
        await client.emit(event)
