"""Files and folders that are safely on the disk, also where several processes work."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from vae.files import reserve_beside, sync


@contextmanager
def reserve_in_folder(path: Path) -> Iterator[Path]:
    """Give an unused path in `path`'s folder, made if need be; what is left there is removed."""
    make_folder(path.parent)
    with reserve_beside(path) as temporary:
        yield temporary


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it, also beside another who does the same."""
    while folder.is_dir():
        with suppress(FileNotFoundError):  # the other one was faster with a part of it
            shutil.rmtree(folder)


def make_folder(folder: Path) -> None:
    """Make a folder and those around it, each safely on the disk. Raises OSError."""
    if not folder.is_dir():
        make_folder(folder.parent)
        try:
            folder.mkdir(exist_ok=True)
        except FileExistsError as error:  # not to be taken for an object that is there already
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(folder)) from error
        sync_folder(folder.parent)


def copy_synced(source: BinaryIO, path: Path) -> None:
    """Write a new file, safely on the disk, from what is left to read of another."""
    with path.open("xb") as file:
        copy_rest(source, file)


def move_synced(path: Path, new: Path) -> None:
    """Give a file another name, safely on the disk; it is copied where it is another disk's."""
    try:
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.rename(new)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with path.open("rb") as file:
            copy_synced(file, new)
        path.unlink()


def append_rest(source: BinaryIO, path: Path) -> None:
    """Append to a file, made if need be, what another is longer, safely on the disk."""
    with path.open("ab") as file:
        source.seek(file.tell())
        copy_rest(source, file)


def copy_rest(source: BinaryIO, file: BinaryIO) -> None:
    """Write what is left to read of a file to another, safely on the disk."""
    shutil.copyfileobj(source, file, 1 << 20)
    sync(file)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
