"""Who is told that a person moved a pointer: Prefect by its event, W&B by the model's alias."""

from prefect.settings import get_current_settings

from flows.events import NewBest, emit_promoted
from flows.server import check_answers
from flows.tracking import to_name
from vae.errors import extract_message
from vae.registry.names import locate_version
from vae.registry.pointers import BEST, Best
from vae.registry.read import read_manifest
from vae.store.promises import Store
from vae.tracking.aliases import move_alias


def tell_best(store: Store, name: str, best: Best, before: Best | None) -> list[str]:
    """Tell both of a best that was moved; a line for each that there is to be told of.

    `before`: the best just before. What can't be told is a line as well: the move is made.
    """
    told = [tell_prefect(store, name, best, before), tell_wandb(name, best.version, BEST)]
    return [line for line in told if line]


def tell_prefect(store: Store, name: str, best: Best, before: Best | None) -> str:
    """Emit the event of a new best; what came of it, or nothing where no server is named."""
    if not get_current_settings().api.url or (before and before.version == best.version):
        return ""
    new = NewBest(
        version=best.version,
        value=best.value,
        previous_version=before.version if before else None,
        previous_value=before.value if before else None,
        run_id=read_manifest(store, name, best.version)[1].run_id,
        uri=f"{store.uri}/{locate_version(name, best.version)}",
    )
    try:
        check_answers()
        emit_promoted(name, new)
    except Exception as error:  # whatever a socket raises
        return f"Prefect was not told: {extract_message(error)}"
    return f"Prefect was told: vae.model.promoted of vae.model.{name}"


def tell_wandb(name: str, version: str, alias: str) -> str:
    """Move an alias in W&B; what came of it."""
    try:
        moved = move_alias(to_name(name), version, alias)
    except Exception as error:  # whatever wandb raises
        return f"W&B's alias {alias} was not moved: {extract_message(error)}"
    return f"W&B's alias {alias} is {moved}"
