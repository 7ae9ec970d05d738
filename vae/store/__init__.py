"""Objects under keys, in a local folder or on S3, with the same three promises on both.

*Whole*: a reader sees all of an object's old or all of its new bytes. *Create once*: of any number
of racing writers one wins. *Replace if unchanged*: compare-and-swap on one object.
"""

import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from vae.errors import UserError, closest

TEMPORARY = ".tmp-"
LOCKS = ".locks"


class Conflict(Exception):
    """`Store.replace` lost the race: the object changed since it was read."""


class Store(Protocol):
    """What both stores offer; keys are relative POSIX paths, see `check_key`.

    A key is an object or a folder of objects, never both. Instances may be shared by threads,
    survive a fork and can be pickled. Writing raises UserError where a disk has no room for it.
    """

    uri: str
    """`file:///absolute/path` or `s3://bucket/prefix`, without a trailing slash."""

    def read(self, key: str) -> bytes:
        """Return an object's bytes; raises FileNotFoundError."""

    def read_token(self, key: str) -> tuple[bytes, str]:
        """Return an object's bytes and the token that names them; raises FileNotFoundError."""

    def exists(self, key: str) -> bool:
        """Say whether the object is there; a folder of objects is not one."""

    def list(self, prefix: str = "") -> list[str]:
        """Return the keys of every object below `prefix`/, sorted."""

    def put(self, key: str, data: bytes) -> None:
        """Write or overwrite an object, whole."""

    def create(self, key: str, data: bytes) -> None:
        """Write an object once; raises FileExistsError if it is there."""

    def replace(self, key: str, data: bytes, token: str | None) -> None:
        """Overwrite the bytes that `token` names (None: there is no object); raises Conflict."""

    def download(self, key: str, destination: Path) -> None:
        """Write an object to a file, whole; raises FileNotFoundError."""

    def delete(self, prefix: str) -> None:
        """Delete the object `prefix` and everything below `prefix`/, if there."""

    def check_writable(self) -> None:
        """Write and remove a probe; raises UserError saying what to mend."""

    def explained(self) -> AbstractContextManager[None]:
        """Return a context where a store that can't be read is a UserError, saying what to mend."""


def open_store(uri: str) -> Store:
    """Return the store at a path, a `file:///…` or an `s3://bucket/prefix` URI.

    Opens no connection and creates nothing. Raises UserError for anything else.
    """
    scheme, separator, rest = uri.partition("://")
    if separator and scheme == "s3":
        return _open_s3(uri, rest)
    if separator and scheme == "file":
        return _open_local(_file_path(uri))
    if separator:
        hint = closest(scheme, ("s3", "file"))
        raise UserError(f"store {uri!r} is not a path, file:///path or s3://bucket/prefix{hint}")
    if not uri or "\0" in uri or re.match(r"(s3|file):", uri):
        raise UserError(f"store {uri!r} is not a path, file:///path or s3://bucket/prefix")
    try:
        return _open_local(Path(uri).expanduser())
    except RuntimeError as error:
        raise UserError(f"store {uri!r}: there is no such user") from error


def check_key(key: str) -> str:
    """Return `key` if it is a relative POSIX path that stays inside the store, else ValueError."""
    parts = key.split("/")
    if not all(parts) or "." in parts or ".." in parts:
        raise ValueError(f"key {key!r} is not a relative path without '.', '..' or '//'")
    if any(character == "\\" or not character.isprintable() for character in key):
        raise ValueError(f"key {key!r} holds a backslash or an unprintable character")
    if "?versionId=" in key:
        raise ValueError(f"key {key!r} holds '?versionId=', which S3 clients cut off")
    if LOCKS in parts or any(part.startswith(TEMPORARY) for part in parts):
        raise ValueError(f"key {key!r} is reserved: {TEMPORARY}* and {LOCKS} are the store's own")
    return key


def _file_path(uri: str) -> Path:
    parts = urlsplit(uri)
    path = unquote(parts.path)
    if parts.netloc not in {"", "localhost"} or not path.startswith("/") or "\0" in path:
        raise UserError(f"store {uri!r} is not file:///absolute/path (three slashes)")
    if parts.query or parts.fragment:
        raise UserError(f"store {uri!r}: write '?' as %3F and '#' as %23 in a file:// URI")
    return Path(path)


def _open_local(root: Path) -> Store:
    from vae.store.local import LocalStore

    return LocalStore(root)


def _open_s3(uri: str, rest: str) -> Store:
    from vae.store.s3 import S3Store

    bucket, _, prefix = rest.partition("/")
    prefix = prefix.rstrip("/")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
        raise UserError(f"store {uri!r}: bucket {bucket!r} is not 3 to 63 of a-z, 0-9, '.' and '-'")
    try:
        return S3Store(bucket, check_key(prefix) if prefix else "")
    except ValueError as error:
        raise UserError(f"store {uri!r}: {error}") from error
