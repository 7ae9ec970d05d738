"""The store in a local folder: temporary file, fsync, rename."""

import errno
import fcntl
import io
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from vae.errors import RefusedError, UserError
from vae.files import NO_ROOM, READ_ONLY, TEMPORARY, hash_bytes
from vae.store.folders import (
    append_rest,
    copy_synced,
    move_synced,
    remove_tree,
    reserve_in_folder,
    sync_folder,
)
from vae.store.promises import LOCKS, STALE_AFTER_S, Conflict, Entry, check_key


class LocalStore:
    """A `Store` in the folder `root`, which the first write creates.

    Needs hard links and flock, which every local Linux and macOS file system has.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))
        self.uri = self.root.as_uri()

    @property
    def address(self) -> str:
        return self.uri

    def read(self, key: str) -> bytes:
        with self._open(key) as file:
            return file.read()

    def read_token(self, key: str) -> tuple[bytes, str]:
        data = self.read(key)
        return data, hash_bytes(data)

    def exists(self, key: str) -> bool:
        return self._locate(key).is_file()

    def list_details(self, prefix: str = "") -> list[Entry]:
        entries = []
        for key in self._walk(prefix):
            with suppress(FileNotFoundError):  # deleted meanwhile
                found = (self.root / key).stat()
                size_bytes = 0 if key.endswith("/") else found.st_size
                entries.append(Entry(key, size_bytes, found.st_mtime))
        return sorted(entries)

    def list(self, prefix: str = "") -> list[str]:
        return sorted(key for key in self._walk(prefix) if not key.endswith("/"))

    def put(self, key: str, data: bytes) -> None:
        self._put(key, lambda temporary: copy_synced(io.BytesIO(data), temporary))

    def put_file(self, key: str, path: Path) -> None:
        self._put(key, lambda temporary: move_synced(path, temporary))

    def create(self, key: str, data: bytes) -> None:
        self._create(key, io.BytesIO(data))

    def create_file(self, key: str, path: Path) -> None:
        with path.open("rb") as file:
            self._create(key, file)

    def find_file(self, key: str) -> Path | None:
        self._open(key).close()
        return self._locate(key)

    def replace(self, key: str, data: bytes, token: str | None) -> None:
        if token is None:
            try:
                return self.create(key, data)
            except FileExistsError as error:
                raise Conflict(f"{self.uri}/{key} was created meanwhile") from error
        path = self._locate(key)
        with self._write_beside(path) as temporary:
            copy_synced(io.BytesIO(data), temporary)
            with self._lock(key):
                if not self.exists(key) or hash_bytes(self.read(key)) != token:
                    raise Conflict(f"{self.uri}/{key} changed since it was read")
                os.replace(temporary, path)
        sync_folder(path.parent)

    def download(self, key: str, destination: Path) -> None:
        with self._open(key) as file, reserve_in_folder(destination) as temporary:
            copy_synced(file, temporary)
            os.replace(temporary, destination)

    def download_rest(self, key: str, partial: Path) -> None:
        with self._open(key) as file:
            append_rest(file, partial)

    def delete(self, prefix: str) -> None:
        path = self._locate(prefix)
        with self._tell_refusal("written"):
            if path.is_dir():
                remove_tree(path)
            elif path.exists():
                with self._lock(prefix):
                    path.unlink(missing_ok=True)

    def check_writable(self) -> None:
        probe = self.root / f"{TEMPORARY}{uuid.uuid4().hex}"
        try:
            with reserve_in_folder(probe) as temporary:
                copy_synced(io.BytesIO(b"probe"), temporary)
                os.link(temporary, probe)
            probe.unlink()
            with self._lock("probe"):
                self._sweep()
        except NotADirectoryError as error:
            raise UserError(f"store {self.uri}: {error.filename} is not a folder") from error
        except OSError as error:
            refused = "makes no hard links" if error.filename2 else "is not writable"
            raise UserError(f"store {self.uri} {refused}: {error.strerror}") from error

    @contextmanager
    def explain_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"store {self.uri}: {error}") from error

    def _put(self, key: str, bring: Callable[[Path], None]) -> None:
        path = self._locate(key)
        with self._write_beside(path) as temporary:
            bring(temporary)
            # Under the lock, so that no unconditional write falls between the comparison and the
            # rename of a concurrent `replace`.
            with self._lock(key):
                os.replace(temporary, path)
        sync_folder(path.parent)

    def _create(self, key: str, content: BinaryIO) -> None:
        path = self._locate(key)
        with self._write_beside(path) as temporary:
            copy_synced(content, temporary)
            os.link(temporary, path)
        sync_folder(path.parent)

    def _walk(self, prefix: str) -> Iterator[str]:
        """The keys of the objects below `prefix`/; of a folder with nothing in it, with a '/'."""
        top = self._locate(prefix) if prefix else self.root
        for folder, folders, names in os.walk(top, onerror=_raise_unless_gone):
            inside = Path(folder).relative_to(self.root)
            if not folders and not names and folder != str(self.root):
                yield f"{inside.as_posix()}/"
            folders[:] = [name for name in folders if not _is_own(name)]
            yield from ((inside / name).as_posix() for name in names if not _is_own(name))

    def _locate(self, key: str) -> Path:
        return self.root / check_key(key)

    def _open(self, key: str) -> BinaryIO:
        try:
            with self._tell_refusal("read"):
                return self._locate(key).open("rb")
        except (IsADirectoryError, NotADirectoryError) as error:
            raise FileNotFoundError(errno.ENOENT, "no such object", f"{self.uri}/{key}") from error

    @contextmanager
    def _write_beside(self, path: Path) -> Iterator[Path]:
        """`reserve_in_folder` an object; that it can't be written is for the user to fix."""
        try:
            with self._tell_refusal("written"), reserve_in_folder(path) as temporary:
                yield temporary
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise UserError(f"store {self.uri}: {error.strerror}, make room and go on") from error

    @contextmanager
    def _tell_refusal(self, done: str) -> Iterator[None]:
        """What may not be read or written is a RefusedError; the rest stays what it is."""
        try:
            yield
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            reason = f"{error.strerror}: {error.filename}"
            raise RefusedError(
                f"store {self.uri} can't be {done} ({reason}), check its permissions and its mount"
            ) from error

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        """Hold the key's lock, one of 256 files that are never removed.

        flock and not lockf: POSIX record locks belong to the process and do not exclude threads.
        """
        folder = self.root / LOCKS
        folder.mkdir(exist_ok=True)
        with (folder / hash_bytes(key.encode())[:2]).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _sweep(self) -> None:
        """Remove temporary files that a killed writer left a day ago or longer."""
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                if name.startswith(TEMPORARY) and time.time() - _read_mtime(path) > STALE_AFTER_S:
                    path.unlink(missing_ok=True)


def _is_own(name: str) -> bool:
    return name == LOCKS or name.startswith(TEMPORARY)


def _read_mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
