"""The store at a path or a URI."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vae.errors import UserError, suggest
from vae.store.promises import Store, check_key


def open_store(uri: str) -> Store:
    """Return the store at a path, a `file:///…` or an `s3://bucket/prefix` URI.

    Opens no connection and creates nothing. Raises UserError for anything else.
    """
    scheme, separator, rest = uri.partition("://")
    if separator and scheme == "s3":
        return _open_s3(uri, rest)
    if separator and scheme == "file":
        return _open_local(_parse_file_uri(uri))
    if separator:
        hint = suggest(scheme, ("s3", "file"))
        raise UserError(f"store {uri!r} is not a path, file:///path or s3://bucket/prefix{hint}")
    if not uri or "\0" in uri or re.match(r"(s3|file):", uri):
        raise UserError(f"store {uri!r} is not a path, file:///path or s3://bucket/prefix")
    try:
        return _open_local(Path(uri).expanduser())
    except RuntimeError as error:
        raise UserError(f"store {uri!r}: there is no such user") from error


def show_location(uri: str) -> str:
    """A store's URI, or one in it, as people read it: of a folder its path."""
    path = uri.removeprefix("file://")
    return uri if path == uri else unquote(path)


def _parse_file_uri(uri: str) -> Path:
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
