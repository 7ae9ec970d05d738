"""The weights of a published version, for a training that begins with them."""

import dataclasses
from pathlib import Path

from vae.errors import EndedRunError, RefusedError, UserError
from vae.experiments.settings import ModelConfig
from vae.experiments.table import to_plain
from vae.models.networks import VAE
from vae.models.saved_model import load_model
from vae.registry.lineage import Start, check_same_manifest
from vae.registry.manifest import MANIFEST
from vae.registry.pull import NoRoomError, pull
from vae.scratch import open_temporary
from vae.store.promises import Store

REMEDY = "begin a new run, from another version or with train.from = scratch"


def load_start(store: Store, start: Start) -> VAE:
    """The version's model, on the CPU, every file verified. Raises UserError."""
    with open_temporary("start") as name:
        folder = Path(name) / "model"
        try:
            pull(store, start.name, start.version, folder)
            check_same_manifest((folder / MANIFEST).read_bytes(), start)
            return load_model(folder)
        except (RefusedError, NoRoomError):  # words of no damage: the run can go on later
            raise
        except UserError as error:
            raise EndedRunError(f"train.from {start}: {error}; {REMEDY}") from error


def check_start(model: VAE, start: Start, config: ModelConfig, shape: tuple[int, int, int]) -> None:
    """Raise UserError unless the version's network is the experiment's, for images of `shape`."""
    theirs, ours = dataclasses.asdict(model.config), dataclasses.asdict(config)
    pairs = {f"model.{name}": (value, ours[name]) for name, value in theirs.items()}
    for what, (found, wanted) in (pairs | {"image size": (model.shape, shape)}).items():
        if found != wanted:
            raise EndedRunError(
                f"train.from {start}: its {what} is {to_plain(found)}, the experiment's "
                f"{to_plain(wanted)}: weights go over to the same network alone; {REMEDY}"
            )
