"""Objects under keys, in a local folder or on S3, with the same three promises on both.

*Whole*: a reader sees all of an object's old or all of its new bytes. *Create once*: of any number
of racing writers one wins. *Replace if unchanged*: compare-and-swap on one object.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from vae.files import TEMPORARY

LOCKS = ".locks"
STALE_AFTER_S = 24 * 3600.0  # what is unfinished for so long, a killed writer left


class Conflict(Exception):
    """`Store.replace` lost the race: the object changed since it was read."""


class Entry(NamedTuple):
    """What is stored under a key: how large it is, and when it was written, by the store's clock.

    A key that ends in "/" is an empty folder's.
    """

    key: str
    size_bytes: int
    modified_s: float  # since the epoch


class Store(Protocol):
    """What both stores offer; keys are relative POSIX paths, see `check_key`.

    A key is an object or a folder of objects, never both. Instances may be shared by threads,
    survive a fork and can be pickled. Writing raises UserError where a disk has no room for it.
    """

    uri: str
    """`file:///absolute/path` or `s3://bucket/prefix`, without a trailing slash."""

    @property
    def address(self) -> str:
        """The URI of a folder; on S3 the URL of the bucket and prefix, at the server asked."""

    def read(self, key: str) -> bytes:
        """Return an object's bytes; raises FileNotFoundError."""

    def read_token(self, key: str) -> tuple[bytes, str]:
        """Return an object's bytes and the token that names them; raises FileNotFoundError."""

    def exists(self, key: str) -> bool:
        """Say whether the object is there; a folder of objects is not one."""

    def list_details(self, prefix: str = "") -> list[Entry]:
        """Return every object below `prefix`/ and what is left as empty folders, sorted by key.

        On S3 such a folder is an object that some clients make, also where it is not empty.
        """

    def list(self, prefix: str = "") -> list[str]:
        """Return the keys of every object below `prefix`/, sorted."""

    def put(self, key: str, data: bytes) -> None:
        """Write or overwrite an object, whole."""

    def create(self, key: str, data: bytes) -> None:
        """Write an object once; raises FileExistsError if it is there."""

    def put_file(self, key: str, path: Path) -> None:
        """`put` the content of a file of any size, without holding it in memory.

        The file may be moved, so whoever calls has no more use for it.
        """

    def create_file(self, key: str, path: Path) -> None:
        """`create` from a file of any size, without holding it in memory.

        Of racing writers of the same bytes, more than one may be told that it wrote them, where
        they go to S3 in parts. Raises UserError for a file that the store can't write once in one
        request.
        """

    def find_file(self, key: str) -> Path | None:
        """Return where the object lies as a file of this machine, to be read and never written.

        None if it lies elsewhere. Raises FileNotFoundError.
        """

    def replace(self, key: str, data: bytes, token: str | None) -> None:
        """Overwrite the bytes that `token` names (None: there is no object); raises Conflict."""

    def download(self, key: str, destination: Path) -> None:
        """Write an object to a file, whole; raises FileNotFoundError."""

    def download_rest(self, key: str, partial: Path) -> None:
        """Append to a file, made if need be, what it lacks of an object; raises FileNotFoundError.

        What is there is taken for the object's first bytes, and what has come stays if this breaks
        off: whoever calls checks the whole.
        """

    def delete(self, prefix: str) -> None:
        """Delete the object `prefix` and everything below `prefix`/, if there.

        Two may delete the same at once.
        """

    def check_writable(self) -> None:
        """Write and remove a probe; raises UserError saying what to fix."""

    def explain_errors(self) -> AbstractContextManager[None]:
        """Return a context where a store that can't be read is a UserError, saying what to fix."""


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
