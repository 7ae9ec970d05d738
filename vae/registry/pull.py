"""A version is pulled: verified file by file, and there whole or not at all."""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
from vae.store.progress import TRANSFERS
from vae.store.promises import Store

log = logging.getLogger(TRANSFERS)
WEIGHTS = (MODEL, "config.json")  # all that `load_model` reads


class NoRoomError(UserError):
    """The disk of the folder that is pulled to is full."""


class ArrivedError(Exception):
    """Another process has pulled to the folder since it was looked at."""


def pull(
    store: Store, name: str, version: str, to: Path, *, only_weights: bool = False
) -> Manifest:
    """Download a version into the new folder `to`, verified before it appears.

    `version`: as `resolve` takes it. What an earlier call has downloaded that was killed or broke
    off is gone on with, in the middle of a file as well, and verified. `only_weights`: WEIGHTS
    alone, without the manifest.

    Does nothing if `to` already holds that very version. Raises UserError for an unknown name or
    version, an occupied `to` or one that is being pulled to, IntegrityError if anything is not as
    it was published.
    """
    data, manifest = resolve(store, name, version)
    to = _resolve(to)
    if _is_occupied(to):
        return _accept_existing(to, data, manifest, only_weights)
    try:
        with _make_folder(to, hash_bytes(data)) as folder:
            for file, record in manifest.files.items():
                if file in WEIGHTS or not only_weights:
                    key = f"{locate_version(name, manifest.version)}/{file}"
                    _fetch(store, key, folder / file, record)
            if not only_weights:
                (folder / MANIFEST).write_bytes(data)
    except ArrivedError:
        return _accept_existing(to, data, manifest, only_weights)
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
    if os.path.ismount(to):  # which nothing can be renamed to, as it would turn out at the end
        raise UserError(f"{to} is a mount, give a new folder in it")
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
    """Give a temporary folder beside `to`, nobody else's meanwhile, that becomes `to` at the end.

    `digest`: of what it is to hold. It stays if this breaks off, and is gone on with then.
    """
    temporary = to.with_name(f"{TEMPORARY}{to.name}-{digest[:16]}")
    try:
        temporary.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {to}: {error.strerror}") from error
    with _hold(temporary, to):
        if _is_occupied(to):
            with suppress(OSError):  # it went with its name, or another has begun anew
                temporary.rmdir()
            raise ArrivedError
        try:
            yield temporary
            _rename(temporary, to)
        except (IntegrityError, NoRoomError):
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _rename(folder: Path, to: Path) -> None:
    try:
        os.rename(folder, to)
    except OSError as error:
        raise UserError(f"cannot write {to}: {error.strerror}") from error


@contextmanager
def _hold(folder: Path, to: Path) -> Iterator[None]:
    """Be the only one who writes into a folder. Raises UserError if somebody does."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:  # it was renamed just now
        raise ArrivedError from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f"another process is pulling to {to}: wait for it") from None
    finally:
        os.close(descriptor)


def _fetch(store: Store, key: str, path: Path, record: FileRecord) -> None:
    """Download a published file, or what is missing of it."""
    where = f"{store.uri}/{key}"
    begun_bytes = path.stat().st_size if path.is_file() and not path.is_symlink() else 0
    if 0 < begun_bytes == record.size and FileRecord.from_file(path) == record:
        return
    if 0 < begun_bytes < record.size:
        _download(store, key, path)
        if FileRecord.from_file(path) == record:
            return check_file(path, record, where)
        log.warning("download %s  what was there is damaged, and it begins anew", path.name)
    path.unlink(missing_ok=True)
    _download(store, key, path)
    check_file(path, record, where)


def _download(store: Store, key: str, path: Path) -> None:
    """Append to a file what it lacks of an object of the version."""
    try:
        store.download_rest(key, path)
    except FileNotFoundError as error:
        raise IntegrityError(f"{store.uri}/{key} is missing, the manifest lists it") from error
    except OSError as error:
        if error.errno in NO_ROOM:  # here: a store is only read
            where = path.parent.parent
            raise NoRoomError(f"cannot write to {where}: {error.strerror}") from error
        raise
