"""A version is pulled: verified file by file, and there whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vae.errors import UserError, extract_message
from vae.files import NO_ROOM, TEMPORARY, hash_bytes
from vae.registry.manifest import (
    MANIFEST,
    MODEL,
    FileRecord,
    IntegrityError,
    Manifest,
    check_file,
    verify,
)
from vae.registry.names import locate_version
from vae.registry.read import resolve
from vae.store.promises import Store

WEIGHTS = (MODEL, "config.json")  # all that `load_model` reads


def pull(
    store: Store, name: str, version: str, to: Path, *, only_weights: bool = False
) -> Manifest:
    """Download a version into the new folder `to`, verified before it appears.

    `version`: as `resolve` takes it. What an earlier call that was killed has downloaded is
    verified and kept. `only_weights`: WEIGHTS alone, without the manifest.

    Does nothing if `to` already holds that very version. Raises UserError for an unknown name or
    version or an occupied `to`, IntegrityError if anything is not as it was published.
    """
    data, manifest = resolve(store, name, version)
    to = _resolve(to)
    if _is_occupied(to):
        return _accept_existing(to, data, manifest, only_weights)
    with _make_folder(to, hash_bytes(data)) as folder:
        for file, record in manifest.files.items():
            if file in WEIGHTS or not only_weights:
                key = f"{locate_version(name, manifest.version)}/{file}"
                _fetch(store, key, folder / file, record)
        if not only_weights:
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


def _accept_existing(to: Path, data: bytes, manifest: Manifest, only_weights: bool) -> Manifest:
    """Verify what is in `to`, if that is the version."""
    if only_weights and to.is_dir() and {path.name for path in to.iterdir()} == set(WEIGHTS):
        for file in WEIGHTS:
            check_file(to / file, manifest.files[file], str(to / file))
        return manifest
    if not (to / MANIFEST).is_file() or (to / MANIFEST).read_bytes() != data:
        raise UserError(f"{to} is not empty and holds something else, give a new folder")
    return verify(to)


@contextmanager
def _make_folder(to: Path, digest: str) -> Iterator[Path]:
    """Give a temporary folder beside `to` that becomes `to` at the end.

    `digest`: of what it is to hold. It stays if this process is killed, and is gone on with then.
    """
    temporary = to.with_name(f"{TEMPORARY}{to.name}-{digest[:16]}")
    try:
        temporary.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {to}: {error.strerror}") from error
    try:
        yield temporary
        os.rename(temporary, to)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fetch(store: Store, key: str, path: Path, record: FileRecord) -> None:
    """Download a published file, unless it is there, as it was published."""
    where = f"{store.uri}/{key}"
    if path.is_file() and FileRecord.from_file(path) == record:
        return
    try:
        store.download(key, path)
    except FileNotFoundError as error:
        raise IntegrityError(f"{where} is missing, the manifest lists it") from error
    except OSError as error:
        if error.errno in NO_ROOM:  # here: a store is only read
            raise UserError(f"cannot write to {path.parent.parent}: {error.strerror}") from error
        raise
    check_file(path, record, where)
