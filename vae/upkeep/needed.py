"""Whether a run needs a version that somebody is about to delete."""

from vae.errors import UserError
from vae.registry.names import locate_version
from vae.store.promises import Store
from vae.upkeep.look import read_run, split
from vae.upkeep.survey import TRAIN


def refuse_if_needed(store: Store, name: str, version: str) -> None:
    """Raise UserError if a run's training has yet to begin with the version's weights."""
    prefix = locate_version(name, version)
    for folder, entries in split(store.list_details("runs"), "runs", 2):
        if any(entry.key == f"{folder}/{TRAIN}.json" for entry in entries):
            continue  # nothing to read
        if (run := read_run(store, folder, entries)).needs(prefix):
            raise UserError(
                f"{name}@{version} stays: run '{run.run_id}' has yet to begin its training with "
                f"it; end that first with vae train --run-id {run.run_id}, or delete the folder "
                f"{store.uri}/{folder}"
            )
