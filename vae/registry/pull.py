"""A version is pulled: verified file by file, and there whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vae.errors import UserError, extract_message
from vae.files import NO_ROOM, TEMPORARY
from vae.registry.manifest import (
    MANIFEST,
    FileRecord,
    IntegrityError,
    Manifest,
    check_file,
    verify,
)
from vae.registry.names import locate_version
from vae.registry.read import resolve
from vae.store.promises import Store


def pull(store: Store, name: str, version: str, to: Path) -> Manifest:
    """Download a version into the new folder `to`, verified before it appears.

    `version`: as `resolve` takes it.

    Does nothing if `to` already holds that very version. Raises UserError for an unknown name or
    version or an occupied `to`, IntegrityError if anything is not as it was published.
    """
    data, manifest = resolve(store, name, version)
    to = _resolve(to)
    if _is_occupied(to):
        return _accept_existing(to, data)
    with _make_folder(to) as folder:
        for file, record in manifest.files.items():
            key = f"{locate_version(name, manifest.version)}/{file}"
            _fetch(store, key, folder / file, record)
        (folder / MANIFEST).write_bytes(data)
    return manifest


def _resolve(to: Path) -> Path:
    try:
        to.stat()
        return to.resolve(strict=True)
    except FileNotFoundError:
        return to.resolve()
    except (OSError, RuntimeError) as error:  # a loop of links, a file where a folder should be
        raise UserError(f"cannot write {to}: {extract_message(error)}") from error


def _is_occupied(to: Path) -> bool:
    if to == Path.cwd():
        raise UserError(f"{to} is the current folder, give a new one")
    return to.exists() and not (to.is_dir() and not any(to.iterdir()))


def _accept_existing(to: Path, data: bytes) -> Manifest:
    if not (to / MANIFEST).is_file() or (to / MANIFEST).read_bytes() != data:
        raise UserError(f"{to} is not empty and holds something else, give a new folder")
    return verify(to)


@contextmanager
def _make_folder(to: Path) -> Iterator[Path]:
    """Give a temporary folder beside `to` that becomes `to` at the end, or is removed."""
    temporary = to.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"cannot write {to}: {error.strerror}") from error
    try:
        yield temporary
        os.rename(temporary, to)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)


def _fetch(store: Store, key: str, path: Path, record: FileRecord) -> None:
    where = f"{store.uri}/{key}"
    try:
        store.download(key, path)
    except FileNotFoundError as error:
        raise IntegrityError(f"{where} is missing, the manifest lists it") from error
    except OSError as error:
        if error.errno in NO_ROOM:  # here: a store is only read
            raise UserError(f"cannot write to {path.parent.parent}: {error.strerror}") from error
        raise
    check_file(path, record, where)
