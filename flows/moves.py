"""Who is told of what a person decides: Prefect by an event, W&B by aliases and a tag."""

from collections.abc import Callable
from functools import partial

from prefect.settings import get_current_settings

from flows.events import DELETED, PROMOTED, NewBest, emit_deleted, emit_promoted
from flows.server import check_answers
from flows.tracking import to_name
from vae.errors import extract_message
from vae.registry.manifest import Manifest
from vae.registry.names import locate_version
from vae.registry.pointers import BEST, Best
from vae.registry.read import read_manifest
from vae.store.promises import Store
from vae.tracking.aliases import drop_alias, mark_deleted, move_alias


def tell_best(store: Store, name: str, best: Best, before: Best | None) -> list[str]:
    """Tell both of a best that was moved; a line for each that there is to be told of.

    `before`: the best just before. What can't be told is a line as well: the move is made.
    """
    moved = before is None or before.version != best.version
    emit = partial(emit_best, store, name, best, before)
    told = tell_prefect(PROMOTED, name, emit) if moved else []
    return [*told, tell_wandb(name, best.version, BEST)]


def emit_best(store: Store, name: str, best: Best, before: Best | None) -> None:
    """Emit the event of a new best; raises if it can't be."""
    new = NewBest(
        version=best.version,
        value=best.value,
        previous_version=before.version if before else None,
        previous_value=before.value if before else None,
        run_id=read_manifest(store, name, best.version)[1].run_id,
        uri=f"{store.uri}/{locate_version(name, best.version)}",
    )
    emit_promoted(name, new)


def tell_deletion(store: Store, manifest: Manifest, why: str) -> list[str]:
    """Tell both of a version that was deleted; a line for each that there is to be told of."""
    name, version = manifest.name, manifest.version
    uri = f"{store.uri}/{locate_version(name, version)}"

    def emit() -> None:
        emit_deleted(name, {"version": version, "run_id": manifest.run_id, "uri": uri, "why": why})

    def mark() -> str:
        return f"W&B's {mark_deleted(to_name(name), version)} is tagged deleted"

    return [
        *tell_prefect(DELETED, name, emit),
        explain(mark, f"W&B's artifact of {version} was not tagged"),
    ]


def tell_prefect(event: str, name: str, emit: Callable[[], None]) -> list[str]:
    """Emit an event of a model; what came of it in a line, or none where no server is named."""
    if not get_current_settings().api.url:
        return []

    def told() -> str:
        check_answers()
        emit()
        return f"Prefect was told: {event} of vae.model.{name}"

    return [explain(told, "Prefect was not told")]


def tell_wandb(name: str, version: str, alias: str) -> str:
    """Move an alias in W&B; what came of it."""

    def told() -> str:
        return f"W&B's alias {alias} is {move_alias(to_name(name), version, alias)}"

    return explain(told, f"W&B's alias {alias} was not moved")


def tell_wandb_of_removal(name: str, version: str, alias: str) -> str:
    """Take an alias away in W&B; what came of it."""

    def told() -> str:
        return f"W&B's {drop_alias(to_name(name), version, alias)} has no alias {alias}"

    return explain(told, f"W&B's alias {alias} was not removed")


def explain(tell: Callable[[], str], failure: str) -> str:
    """What came of telling somebody; that it failed, and why, is no error: the move is made."""
    try:
        return tell()
    except Exception as error:  # whatever a socket or wandb raises
        return f"{failure}: {extract_message(error)}"
