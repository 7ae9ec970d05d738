"""A folder of the cache in which a dataset is prepared, found again after a kill."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vae.data.sources import choose_writable
from vae.errors import UserError
from vae.files import NO_ROOM, READ_ONLY
from vae.store.folders import remove_tree

STALE_AFTER_S = 24 * 3600.0


@contextmanager
def prepare_in(cache: Path, name: str) -> Iterator[Path]:
    """Give the folder of a dataset, to one process at a time; it goes once all is done.

    What a failure or a kill leaves in it stays for a day. Raises UserError where it can't be
    written.
    """
    above = choose_writable(cache) / "preparing"
    try:
        above.mkdir(parents=True, exist_ok=True)
        with (above / f"{name}.lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _sweep(above)
            folder = above / name
            folder.mkdir(exist_ok=True)
            yield folder
            remove_tree(folder)
    except OSError as error:
        if error.errno not in NO_ROOM | READ_ONLY:
            raise
        raise UserError(
            f"{above}: {error.strerror}, make room or set VAE_CACHE to a folder that can be written"
        ) from error


def _sweep(above: Path) -> None:
    """Remove what was left a day ago or longer, and nobody is at work in."""
    for folder in above.iterdir():
        if not folder.is_dir() or time.time() - folder.stat().st_mtime < STALE_AFTER_S:
            continue
        with suppress(BlockingIOError), (above / f"{folder.name}.lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(folder)
