"""Files on a disk: written whole, named plainly, and known by their SHA-256."""

import errno
import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

TEMPORARY = ".tmp-"  # how the names of unfinished files and folders begin
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # means the same to every file system
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # a disk, a quota, a limit is full
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})  # a mount, a folder takes nothing


def hash_bytes(data: bytes | memoryview) -> str:
    """Return the SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal, without reading it into memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def reserve_beside(path: Path) -> Iterator[Path]:
    """Give an unused path in `path`'s folder, to be renamed; a file left there is removed."""
    temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        yield temporary
    finally:
        with suppress(OSError):  # the error that matters is the one on its way up
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones. Raises OSError.

    Also after a power cut: the bytes are on the disk before the file has its name.
    """
    with reserve_beside(path) as temporary:
        with temporary.open("xb") as file:
            file.write(data)
            sync(file)
        os.replace(temporary, path)


def sync(file: BinaryIO) -> None:
    """Have what was written to a file on the disk. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())
