"""Where a dataset's files come from, and the proof that they are the right bytes."""

import functools
import gzip
import logging
import os
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from vae.errors import UserError, extract_message
from vae.files import hash_bytes, write_whole

log = logging.getLogger("vae.data.datasets")

_CONNECT_S = 2.5  # name lookup, TCP and TLS together, so two dead mirrors cost at most 5 s
_STALL_S = 5.0
BAD_ARCHIVE = (OSError, EOFError, tarfile.TarError, zlib.error)


class SourceError(Exception):
    """Why a source did not give a file, in one line."""


class Unreachable(SourceError):
    """Why a source can give no file at all, in one line; it is not asked again."""


class Source(Protocol):
    """A place that may hold a dataset's files."""

    @property
    def name(self) -> str: ...

    def read(self, file: str) -> bytes:
        """Decompressed content of `file`, unverified. Raises SourceError."""


class Mirror(NamedTuple):
    """A folder at any fsspec URL or path, with files plain or gzipped."""

    url: str
    suffixes: tuple[str, ...] = ("", ".gz")

    @property
    def name(self) -> str:
        return self.url

    def read(self, file: str) -> bytes:
        for suffix in self.suffixes:
            try:
                data = _read_url(f"{self.url.rstrip('/')}/{file}{suffix}")
            except FileNotFoundError:
                continue
            return gunzip(data) if suffix else data
        raise SourceError("not found")


def list_torchvision_mirrors(dataset: str) -> Iterator[Mirror]:
    """The HTTP mirrors that torchvision's class `dataset` downloads from.

    Imported when the first is asked for: that takes a second or two, and the cache may do.
    """
    import torchvision.datasets

    known = getattr(torchvision.datasets, dataset)
    if hasattr(known, "mirrors"):
        yield from (Mirror(url, suffixes=(".gz",)) for url in known.mirrors)
    else:
        yield Mirror(known.url.rpartition("/")[0], suffixes=("",))


def list_operator_mirrors(dataset: str) -> list[Mirror]:
    """The mirror that VAE_DATA_MIRROR names (holding <dataset>/<file>), if it is set."""
    root = os.environ.get("VAE_DATA_MIRROR")
    return [Mirror(f"{root.rstrip('/')}/{dataset}")] if root else []


def find_cache() -> Path:
    """Where verified downloads are kept: VAE_CACHE, or vae-pipeline in the user's cache.

    Raises UserError for the home of a user whom nobody knows.
    """
    if own := os.environ.get("VAE_CACHE"):
        try:
            return Path(own).expanduser()
        except RuntimeError as error:
            raise UserError(f"VAE_CACHE {own!r}: there is no such user") from error
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vae-pipeline"


@functools.cache
def choose_writable(cache: Path) -> Path:
    """The cache, or where it can't be written a folder of what is temporary, which is told."""
    with suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
    if os.access(cache, os.W_OK | os.X_OK):
        return cache
    instead = Path(tempfile.gettempdir()) / "vae-cache"
    log.warning("cache: %s can't be written: %s is used, or set VAE_CACHE", cache, instead)
    return instead


def fetch(
    dataset: str, digests: Mapping[str, str], sources: Iterable[Source], cache: Path
) -> dict[str, bytes]:
    """Content of every file in `digests` (name -> SHA-256 of it), from the cache or a source.

    Sources are taken in order while one is needed; a wrong hash is refused, logged, and the next
    source asked. Raises UserError naming every source and why it failed.
    """
    cached = {file: _read_cache(cache / file, digest) for file, digest in digests.items()}
    found = {file: data for file, data in cached.items() if data is not None}
    failures: dict[str, str] = {}
    left = iter(sources)
    while (missing := list_missing(digests, found)) and (source := next(left, None)):
        for file in missing:
            try:
                found[file] = _verify(source.read(file), digests[file])
            except SourceError as error:
                line = _hide_password(f"{source.name}: {file}: {error}")
                log.warning("%s", line)
                failures.setdefault(source.name, line)
                if isinstance(error, Unreachable):
                    break
            else:
                log.info("%s from %s", file, _hide_password(source.name))
                _keep(cache / file, found[file])
    if missing:
        tried = "; ".join(failures.values())
        raise UserError(
            f"{dataset}: no source gave {', '.join(missing)} (tried {tried}); "
            f"set VAE_DATA_MIRROR=<URL or folder> that holds {dataset}/{missing[0]}[.gz]"
        )
    return found


def list_missing(digests: Mapping[str, str], found: Mapping[str, bytes]) -> list[str]:
    """The files that are not found yet."""
    return [file for file in digests if file not in found]


def gunzip(data: bytes) -> bytes:
    """Decompressed, if it is gzip; raises SourceError."""
    if not data.startswith(b"\x1f\x8b"):  # an HTTP client may have decompressed it already
        return data
    try:
        return gzip.decompress(data)
    except BAD_ARCHIVE as error:
        raise SourceError(f"broken gzip: {extract_message(error)}") from error


def _verify(data: bytes, digest: str) -> bytes:
    if (given := hash_bytes(data)) != digest:
        raise SourceError(f"refused, wrong content: sha256 expected {digest}, found {given}")
    return data


def _read_cache(path: Path, digest: str) -> bytes | None:
    try:
        return _verify(path.read_bytes(), digest)
    except FileNotFoundError:
        return None
    except (OSError, SourceError) as error:
        log.warning("cache: %s: %s", path, error)
        return None


def _keep(path: Path, data: bytes) -> None:
    """Add to the cache; what cannot be kept is fetched again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        log.warning("cache: %s: not kept: %s", path, error)


def _read_url(url: str) -> bytes:
    """Bytes at a URL or path; raises FileNotFoundError, or SourceError."""
    import aiohttp
    import botocore.exceptions
    import fsspec.core

    patience = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S, sock_read=_STALL_S)
    once = {
        "connect_timeout": _CONNECT_S,
        "read_timeout": _STALL_S,
        "retries": {"total_max_attempts": 1},
    }
    http = {"client_kwargs": {"timeout": patience, "trust_env": True}}
    limits: dict[str, dict[str, Any]] = {
        "http": http,
        "https": http,
        "s3": {"config_kwargs": once, "skip_instance_cache": True},  # AWS_* may have changed
    }
    gone = (TimeoutError, aiohttp.ClientConnectionError, botocore.exceptions.BotoCoreError)
    try:
        filesystem, path = fsspec.core.url_to_fs(url, **limits.get(url.partition("://")[0], {}))
        data: bytes = filesystem.cat_file(path)
    except FileNotFoundError:
        raise
    except (*gone, ImportError, ValueError) as error:
        raise Unreachable(extract_message(error)) from error
    except (OSError, aiohttp.ClientError) as error:
        raise SourceError(extract_message(error)) from error
    return data


def _hide_password(text: str) -> str:
    return re.sub(r"(?<=://)[^/\s]*@", "", text)  # a password may hold an @ of its own
