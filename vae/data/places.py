"""Where a user's files lie: a local folder, S3 through the store, any other URL through fsspec."""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from vae.errors import UserError, extract_message
from vae.store.open import open_store
from vae.store.promises import Store

FILES = (".npy", ".csv", ".tsv")  # what is a set by itself
_MAGIC = re.compile(r"[*?\[]")
_HIDDEN = re.compile(r"([^/]*/)*?\.[^/]*")  # up to the first part that starts with a dot


class Target(NamedTuple):
    """What a name means: a folder, and a file in it, or a pattern of files below it, or neither."""

    folder: str
    file: str = ""
    pattern: str = ""

    @property
    def title(self) -> str:
        """The last part of the name that is no pattern, without its suffix."""
        last = self.file or self.folder.rstrip("/").rpartition("/")[2]
        return Path(last).stem


class Listing(NamedTuple):
    """Files by their path relative to a place, in order, and what is left out, counted by kind."""

    files: tuple[str, ...]
    left_out: Counter[str]


class Place(Protocol):
    """A folder somewhere."""

    def list(self) -> Listing:
        """Every file below the folder but hidden ones. Raises UserError."""

    def exists(self, file: str) -> bool:
        """Whether there is such a file. Raises UserError."""

    def read(self, file: str) -> bytes:
        """The content of a file, by its path in the folder. Raises UserError."""

    def fetch(self, file: str, folder: Path) -> Path:
        """A file of this machine with that content, written to `folder` if there is none.

        Raises UserError.
        """


def parse_target(name: str) -> Target:
    """What the name of a set means; nothing is looked for but a path that holds *, ? or [."""
    if _MAGIC.search(name) and ("://" in name or not os.path.exists(name)):
        plain = re.split(r"[^/]*[*?\[]", name, maxsplit=1)[0]
        return Target(plain.rstrip("/") or "/", pattern=name[len(plain) :])
    if name.lower().endswith(FILES) and ("://" in name or not os.path.isdir(name)):
        folder, _, file = name.rpartition("/")
        return Target(folder or "/", file=file)
    return Target(name)


def open_place(folder: str) -> Place:
    """The place at an absolute path or a URL; nothing is read yet. Raises UserError."""
    scheme, separator, path = folder.partition("://")
    if separator and scheme == "s3":
        return StorePlace(open_store(folder.rstrip("/")))
    if separator and scheme != "file":
        return UrlPlace(folder)
    return LocalFolder(Path(path if separator else folder))


def match(files: Iterable[str], pattern: str) -> tuple[str, ...]:
    """Those that match a pattern: * and ? stay within a folder, ** does not."""
    from fsspec.utils import glob_translate

    wanted = re.compile(glob_translate(pattern))
    return tuple(file for file in files if wanted.match(file))


def show_name(name: str) -> str:
    """A file's name in one printable line, also one that is not UTF-8 or has line breaks."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


class LocalFolder:
    """A folder on this machine; links are followed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def list(self) -> Listing:
        left_out: Counter[str] = Counter()
        with self._explain_errors(""):
            return Listing(tuple(sorted(self._walk("", (), left_out))), left_out)

    def exists(self, file: str) -> bool:
        return (self.root / file).is_file()

    def read(self, file: str) -> bytes:
        with self._explain_errors(file):
            return (self.root / file).read_bytes()

    def fetch(self, file: str, folder: Path) -> Path:
        with self._explain_errors(file):
            (self.root / file).open("rb").close()
        return self.root / file

    def _walk(
        self, below: str, above: tuple[tuple[int, int], ...], left_out: Counter[str]
    ) -> Iterator[str]:
        """Yield the files below a folder; `above` are the folders that it lies in."""
        here = os.stat(self.root / below)
        if (here.st_dev, here.st_ino) in above:
            raise UserError(
                f"{show_name(str(self.root / below))}: a link to a folder that it lies in, "
                "which has no end: remove it"
            )
        above = (*above, (here.st_dev, here.st_ino))
        with os.scandir(self.root / below) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            name = f"{below}{entry.name}"
            if entry.name.startswith("."):
                left_out["hidden"] += 1
                continue
            if entry.is_symlink() and not os.path.exists(entry.path):
                left_out["broken links"] += 1
                continue
            mode = os.stat(entry.path).st_mode  # of what a link leads to
            if stat.S_ISDIR(mode):
                yield from self._walk(f"{name}/", above, left_out)
            elif stat.S_ISREG(mode):
                yield name
            else:
                left_out["pipes, sockets or devices"] += 1

    @contextmanager
    def _explain_errors(self, file: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: a null byte
            where = getattr(error, "filename", None) or self.root / file
            why = getattr(error, "strerror", None) or extract_message(error)
            raise UserError(f"{show_name(os.fspath(where))}: cannot be read: {why}") from error


class StorePlace:
    """A folder on S3, by the client of the store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def list(self) -> Listing:
        with self.store.explain_errors():
            return leave_hidden_out(self.store.list())

    def exists(self, file: str) -> bool:
        with self.store.explain_errors():
            return self.store.exists(file)

    def read(self, file: str) -> bytes:
        with self._explain_errors(file):
            return self.store.read(file)

    def fetch(self, file: str, folder: Path) -> Path:
        fetched = folder / Path(file).name
        with self._explain_errors(file):
            self.store.download(file, fetched)
        return fetched

    @contextmanager
    def _explain_errors(self, file: str) -> Iterator[None]:
        where = f"{self.store.uri}/{show_name(file)}"
        try:
            with self.store.explain_errors():
                yield
        except ValueError as error:
            raise UserError(f"{where}: cannot be read: {extract_message(error)}") from error
        except UserError as error:
            raise UserError(f"{where}: {error}") from error


class UrlPlace:
    """A folder at any other URL that fsspec knows."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        with self._explain_errors():
            import fsspec.core

            found: tuple[Any, str] = fsspec.core.url_to_fs(self.url)
        self.filesystem, self.root = found

    def list(self) -> Listing:
        with self._explain_errors():
            found = self.filesystem.find(self.root)
        prefix = f"{self.root.rstrip('/')}/"
        return leave_hidden_out(name.removeprefix(prefix) for name in found)

    def exists(self, file: str) -> bool:
        with self._explain_errors(file):
            return bool(self.filesystem.isfile(f"{self.root.rstrip('/')}/{file}"))

    def read(self, file: str) -> bytes:
        with self._explain_errors(file):
            data: bytes = self.filesystem.cat_file(f"{self.root.rstrip('/')}/{file}")
        return data

    def fetch(self, file: str, folder: Path) -> Path:
        fetched = folder / Path(file).name
        with self._explain_errors(file):
            self.filesystem.get_file(f"{self.root.rstrip('/')}/{file}", str(fetched))
        return fetched

    @contextmanager
    def _explain_errors(self, file: str = "") -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each of fsspec's clients has errors of its own
            where = show_name("/".join(filter(None, (self.url, file))))
            raise UserError(f"{where}: cannot be read: {extract_message(error)}") from error


def leave_hidden_out(names: Iterable[str]) -> Listing:
    """A listing without names that start with a dot, or lie below such, which counts as one."""
    everything = sorted(names)
    hidden = {one: found.group() for one in everything if (found := _HIDDEN.match(one))}
    files = tuple(one for one in everything if one not in hidden)
    return Listing(files, Counter({"hidden": len(set(hidden.values()))} if hidden else {}))
