"""Files of this machine that were seen to have their SHA-256, so that none is hashed twice."""

import os
from pathlib import Path

from vae.data.sources import choose_writable, find_cache, log
from vae.files import hash_bytes, hash_file, write_whole

SMALL_BYTES = 64_000_000


class WrongContentError(Exception):
    """A file is not what its SHA-256 says; the message is the one that it has."""


def verify_once(path: Path, sha256: str, small_bytes: int = SMALL_BYTES) -> None:
    """Hash a file, unless it was seen since it was last written. Raises WrongContentError, OSError.

    What was seen is noted in the cache, by the file's place, size and time of writing. Small files
    are hashed each time, which takes no longer than to read them.
    """
    if path.stat().st_size <= small_bytes:
        return _verify(path, sha256)
    mark = locate_mark(path)
    seen = f"{sha256} {_describe(path)}".encode()
    if mark.is_file() and mark.read_bytes() == seen:
        return
    _verify(path, sha256)
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        write_whole(mark, seen)
    except OSError as error:
        log.warning("cache: %s: it is hashed again next time: %s", path, error)


def _verify(path: Path, sha256: str) -> None:
    if (found := hash_file(path)) != sha256:
        raise WrongContentError(found)


def locate_mark(path: Path) -> Path:
    """Where it is noted that a file was verified."""
    return choose_writable(find_cache()) / "verified" / hash_bytes(os.fsencode(path))


def _describe(path: Path) -> str:
    found = path.stat()
    return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns}"
