"""The events that this code emits on Prefect's bus, for deployments and automations to fire on."""

import asyncio
from typing import Any

from prefect.events import Event, RelatedResource, Resource
from prefect.events.clients import get_events_client
from prefect.runtime import flow_run

DATA_CHANGED = "vae.data.changed"
PROMOTED = "vae.model.promoted"


def emit_data_changed(name: str, payload: dict[str, Any]) -> None:
    """Say that a folder or a prefix of images is not as it was; raises if it can't be said."""
    emit(DATA_CHANGED, f"vae.data.{name}", name, payload)


def emit_promoted(name: str, payload: dict[str, Any]) -> None:
    """Say that a version is a model's best from now on; raises if it can't be said."""
    emit(PROMOTED, f"vae.model.{name}", name, payload)


def emit(event: str, resource_id: str, name: str, payload: dict[str, Any]) -> None:
    """Send one event, and return once the server has it."""
    resource = {"prefect.resource.id": resource_id, "prefect.resource.name": name}
    related = {"prefect.resource.id": f"prefect.flow-run.{flow_run.get_id()}"}
    told = Event(
        event=event,
        resource=Resource.model_validate(resource),
        related=[RelatedResource.model_validate(related | {"prefect.resource.role": "flow-run"})],
        payload=payload,
    )
    asyncio.run(send(told))


async def send(event: Event) -> None:
    """Send an event and wait until it has arrived, which Prefect's own `emit_event` does not."""
    async with get_events_client(checkpoint_every=1) as client:
        await client.emit(event)
