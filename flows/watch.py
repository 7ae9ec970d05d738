"""New data as an event: a flow that looks at a folder or a prefix, for a schedule to run."""

import dataclasses
import json
import os
from typing import Any

from prefect import State, flow
from prefect.states import Completed

from flows.events import DATA_CHANGED, emit_data_changed
from flows.notices import notify_first_end
from vae.data.listing import Listing, list_data
from vae.files import hash_bytes
from vae.store.open import open_store


@flow(
    name="watch",
    flow_run_name="{data}",
    persist_result=False,
    on_failure=[notify_first_end],
    on_crashed=[notify_first_end],
)
def watch(data: str = "images", store: str | None = None) -> State[dict[str, Any]]:
    """Emit vae.data.changed if a folder or a prefix is not as it was when last looked at.

    Only its listing is read. The first look counts as a change, an empty folder never does.

    Args:
        data: a folder, a file or s3://bucket/prefix
        store: where what was seen is kept; else VAE_STORE, else ./store
    """
    seen = list_data(data)
    told = f"{seen.files:,} files, {seen.size_bytes:,} bytes in {seen.location}"
    opened = open_store(store or os.environ.get("VAE_STORE", "./store"))
    key = f"watch/{seen.name}-{hash_bytes(seen.location.encode())[:8]}.json"
    text = to_json(seen)
    try:
        known = opened.read(key)
    except FileNotFoundError:
        known = b""
    if known == text or not seen.files:
        return Completed(message=f"nothing new: {told}", data={"changed": False})
    emit_data_changed(seen.name, json.loads(text))
    opened.put(key, text)  # last, so that a change is told twice rather than never
    return Completed(message=f"{DATA_CHANGED}: {told}", data={"changed": True})


def to_json(seen: Listing) -> bytes:
    """A listing as it is kept and as it is the event's payload."""
    return (json.dumps(dataclasses.asdict(seen), indent=2) + "\n").encode()
