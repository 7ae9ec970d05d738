"""Files of the store on this node: each fetched once, verified, and shared by all its processes.

A file is named by its SHA-256. Who maps it holds a shared lock on it, which the kernel drops with
the last map, also of a process that was killed: what nobody holds may go when room is needed.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from vae.data.sources import choose_writable, find_cache
from vae.data.verified import WrongContentError, locate_mark, verify_once
from vae.errors import UserError
from vae.files import NO_ROOM, READ_ONLY
from vae.store.folders import remove_tree

DEFAULT_BYTES = 50_000_000_000
LIMIT = "VAE_CACHE_BYTES"


class NodeCache:
    """The files of a node below `folder`, which together take `limit_bytes` at most."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes
        self.files, self.fetching = folder / "files", folder / "fetching"

    def hold(self, sha256: str, fetch: Callable[[Path], None]) -> BinaryIO:
        """The file with this content, open, held until it and its maps are closed.

        `fetch` writes it to a path, if it is not there. Raises WrongContentError for what that
        wrote, UserError where there is no room for it, and what `fetch` raises.
        """
        path = self.files / sha256
        with self._explain():
            for folder in (self.files, self.fetching):
                folder.mkdir(parents=True, exist_ok=True)
            with self._lock(sha256):
                held = self._hold_whole(path, sha256) or self._add(path, sha256, fetch)
            mark_used(path)
        return held

    def _hold_whole(self, path: Path, sha256: str) -> BinaryIO | None:
        """What is there already, unless it was damaged since."""
        with suppress(FileNotFoundError, WrongContentError), ExitStack() as opened:
            held = opened.enter_context(path.open("rb"))
            fcntl.flock(held, fcntl.LOCK_SH)
            verify_once(path, sha256)  # not there if it was removed before the lock
            opened.pop_all()
            return held
        return None

    def _add(self, path: Path, sha256: str, fetch: Callable[[Path], None]) -> BinaryIO:
        fetched = self.fetching / sha256 / sha256
        remove_tree(fetched.parent)  # of a process that was killed
        fetched.parent.mkdir()
        try:
            fetch(fetched)
            verify_once(fetched, sha256)
            with self._lock("room"):
                self._make_room(fetched.stat().st_size)
                held = fetched.open("rb")
                fcntl.flock(held, fcntl.LOCK_SH)
                os.replace(fetched, path)
        finally:
            locate_mark(fetched).unlink(missing_ok=True)
            remove_tree(fetched.parent)
        return held

    def _make_room(self, size_bytes: int) -> None:
        """Remove what nobody holds, the longest unused first, as far as need be."""
        self._sweep()
        found = sorted(self.files.iterdir(), key=lambda path: path.stat().st_atime_ns)
        used = sum(path.stat().st_size for path in found)
        for path in found:
            if used + size_bytes <= self.limit_bytes:
                return
            freed = path.stat().st_size
            if remove_unheld(path):
                used -= freed
        if used + size_bytes > self.limit_bytes:
            raise UserError(
                f"{LIMIT} is {self.limit_bytes}, but files of {used} bytes are in use below "
                f"{self.folder} and one of {size_bytes} is asked for: must be at least "
                f"{used + size_bytes}"
            )

    def _sweep(self) -> None:
        """Remove what processes were fetching when they were killed."""
        for folder in self.fetching.iterdir():
            with suppress(BlockingIOError), self._lock(folder.name, fcntl.LOCK_NB):
                remove_tree(folder)

    @contextmanager
    def _lock(self, name: str, how: int = 0) -> Iterator[None]:
        """Hold a lock of this node; one of few files, which are never removed."""
        folder = self.folder / "locks"
        folder.mkdir(exist_ok=True)
        with (folder / name[:4]).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | how)
            yield

    @contextmanager
    def _explain(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in NO_ROOM | READ_ONLY:
                raise
            raise UserError(
                f"cache {self.folder}: {error.strerror}, make room or set VAE_CACHE to a folder "
                "that can be written"
            ) from error


def open_node_cache() -> NodeCache:
    """The cache that VAE_CACHE and VAE_CACHE_BYTES speak of. Raises UserError."""
    given = os.environ.get(LIMIT) or str(DEFAULT_BYTES)
    if not (given.isascii() and given.isdecimal()):
        raise UserError(f"{LIMIT} is {given!r}, must be a whole number of bytes")
    return NodeCache(choose_writable(find_cache()) / "shards", int(given))


def remove_unheld(path: Path) -> bool:
    """Remove a file unless somebody holds it; whether it is gone."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        locate_mark(path).unlink(missing_ok=True)
        path.unlink()
        return True


def mark_used(path: Path) -> None:
    """Note that a file is used now, without a change to when it was written."""
    os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
