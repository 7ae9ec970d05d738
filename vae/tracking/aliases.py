"""A published model's artifact in W&B, kept as a person moves and deletes what the store has."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vae.errors import UserError
from vae.tracking.sync import check_account
from vae.tracking.tracker import find_project, read_mode

if TYPE_CHECKING:
    import wandb

ANSWER_SECONDS = 20
DELETED = "deleted"  # the tag of an artifact whose files are gone
LATEST = "latest"  # the one alias that W&B itself gives


def move_alias(collection: str, version: str, alias: str) -> str:
    """Have W&B's artifact of a published version bear an alias, which another one loses.

    The artifact's name in W&B. Raises UserError where W&B is offline or has no such artifact, and
    what wandb does where W&B refuses.
    """
    with open_artifact(collection, version) as artifact:
        if alias not in artifact.aliases:
            artifact.aliases.append(alias)
            artifact.save()
        return str(artifact.qualified_name)


def drop_alias(collection: str, version: str, alias: str) -> str:
    """Have W&B's artifact of a published version bear an alias no longer; else as `move_alias`."""
    with open_artifact(collection, version) as artifact:
        if alias in artifact.aliases:
            artifact.aliases.remove(alias)
            artifact.save()
        return str(artifact.qualified_name)


def mark_deleted(collection: str, version: str) -> str:
    """Tag W&B's artifact of a version that is no more, without its aliases; as `move_alias`.

    The artifact stays, for the lineage of what was made from it.
    """
    with open_artifact(collection, version) as artifact:
        artifact.aliases = [alias for alias in artifact.aliases if alias == LATEST]
        artifact.tags = [*artifact.tags, DELETED]
        artifact.save()
        return str(artifact.qualified_name)


@contextmanager
def open_artifact(collection: str, version: str) -> Iterator["wandb.Artifact"]:
    """W&B's artifact of a version, to be changed. Raises UserError, and what wandb does."""
    if read_mode() in ("offline", "disabled"):
        raise UserError(f"W&B is {read_mode()} (WANDB_MODE)")
    check_account()
    import wandb

    try:
        yield find_artifact(wandb.Api(timeout=ANSWER_SECONDS), collection, version)
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
