"""The aliases of a published model in W&B, moved as a person moves the store's pointers."""

import os
from typing import TYPE_CHECKING

from vae.errors import UserError
from vae.tracking.sync import check_account
from vae.tracking.tracker import find_project, read_mode

if TYPE_CHECKING:
    import wandb

ANSWER_SECONDS = 20


def move_alias(collection: str, version: str, alias: str) -> str:
    """Have W&B's artifact of a published version bear an alias, which another one loses.

    The artifact's name in W&B. Raises UserError where W&B is offline or has no such artifact, and
    what wandb does where W&B refuses.
    """
    if read_mode() in ("offline", "disabled"):
        raise UserError(f"W&B is {read_mode()} (WANDB_MODE)")
    check_account()
    import wandb

    try:
        artifact = find_artifact(wandb.Api(timeout=ANSWER_SECONDS), collection, version)
        if alias not in artifact.aliases:
            artifact.aliases.append(alias)
            artifact.save()
        return str(artifact.qualified_name)
    finally:
        wandb.teardown()


def find_artifact(api: "wandb.Api", collection: str, version: str) -> "wandb.Artifact":
    """The artifact as which a version was published. Raises UserError."""
    entity = os.environ.get("WANDB_ENTITY") or api.default_entity
    place = f"{entity}/{find_project()}/{collection}"
    try:
        found = [one for one in api.artifacts("model", place) if is_of(one, version)]
    except ValueError:  # wandb's word for a project or a collection that is not there
        found = []
    if not found:
        raise UserError(f"W&B has no {place} of version {version}; vae sync sends what it lacks")
    return found[0]


def is_of(artifact: "wandb.Artifact", version: str) -> bool:
    """Whether an artifact says that it is this version."""
    return bool(artifact.metadata.get("version") == version)
