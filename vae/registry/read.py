"""Published versions as their readers see them: list them, read them, pull them.

A version exists once its manifest, which is written last, is there.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vae.errors import RefusedError, UserError, extract_message, suggest
from vae.files import NO_ROOM, PLAIN_NAME, TEMPORARY, hash_bytes
from vae.registry.manifest import (
    MANIFEST,
    METRICS,
    Best,
    FileRecord,
    IntegrityError,
    Manifest,
    check_file,
    check_record,
    is_number,
    parse_object,
    verify,
)
from vae.store.promises import Store


@dataclass(frozen=True, kw_only=True)
class VersionInfo:
    """One published version: its metrics (nats per image) and whether it is the best."""

    version: str
    metrics: dict[str, float]
    best: bool
    damage: str = ""  # why there are no metrics: their file is not as it was published


def list_models(store: Store) -> list[str]:
    """Return the names of the models with at least one published version, sorted."""
    names = {name for name, _ in _find_manifests(store, "models")}
    return sorted(names)


def list_versions(store: Store, name: str) -> list[VersionInfo]:
    """Return a model's published versions, sorted; raises UserError if there is none."""
    best, _ = read_best(store, _check_plain("model", name))
    found = []
    for version in _find_versions(store, name):
        metrics, damage = dict[str, float](), ""
        try:
            metrics = read_metrics(store, name, version)
        except IntegrityError as error:  # the others are there to be seen all the same
            damage = str(error)
        is_best = best is not None and best.version == version
        found.append(VersionInfo(version=version, metrics=metrics, best=is_best, damage=damage))
    return found


def pull(store: Store, name: str, version: str | None, to: Path) -> Manifest:
    """Download a version (None: the best) into the new folder `to`, verified before it appears.

    Does nothing if `to` already holds that very version. Raises UserError for an unknown name or
    version or an occupied `to`, IntegrityError if anything is not as it was published.
    """
    if version is None:
        data, manifest = _read_best_manifest(store, name)
    else:
        data, manifest = read_manifest(store, name, version)
    to = _resolve(to)
    if _is_occupied(to):
        return _accept_existing(to, data)
    with _make_folder(to) as folder:
        for file, record in manifest.files.items():
            key = f"{locate_version(name, manifest.version)}/{file}"
            _fetch(store, key, folder / file, record)
        (folder / MANIFEST).write_bytes(data)
    return manifest


def check_published(store: Store, name: str, version: str) -> Manifest:
    """Read every file of a version in the store; return its manifest.

    Raises UserError if there is no such version, IntegrityError if a file is not the published one.
    """
    _, manifest = read_manifest(store, name, version)
    for file, record in manifest.files.items():
        _read_published(store, f"{locate_version(name, version)}/{file}", record)
    return manifest


def find_version_of(store: Store, name: str, recipe: str) -> str | None:
    """The newest whole version that was made by this recipe, if there is one."""
    for version in sorted(
        (found for _, found in _find_manifests(store, f"models/{_check_plain('model', name)}")),
        reverse=True,
    ):
        try:
            _, manifest = read_manifest(store, name, version)
        except RefusedError:
            raise
        except UserError:  # damaged, as `vae list` says, or deleted just now: as good as none
            continue
        if manifest.recipe == recipe:
            return version
    return None


def locate_version(name: str, version: str) -> str:
    """Return the key of a version's folder; raises UserError for a name that is not plain."""
    return f"models/{_check_plain('model', name)}/versions/{_check_plain('version', version)}"


def locate_best(name: str) -> str:
    """Return the key of a model's pointer; raises UserError for a name that is not plain."""
    return f"models/{_check_plain('model', name)}/best.json"


def read_manifest(store: Store, name: str, version: str) -> tuple[bytes, Manifest]:
    """Return a published version's manifest and its bytes.

    Raises UserError if there is none, IntegrityError if it is another version's.
    """
    key = f"{locate_version(name, version)}/{MANIFEST}"
    try:
        data = store.read(key)
    except FileNotFoundError as error:
        hint = suggest(version, _find_versions(store, name))
        raise UserError(f"model {name!r} has no version {version!r}{hint}") from error
    manifest = Manifest.from_bytes(data, f"{store.uri}/{key}")
    if (manifest.name, manifest.version) != (name, version):
        raise IntegrityError(f"{store.uri}/{key} is of {manifest.name}@{manifest.version}")
    return data, manifest


def read_best(store: Store, name: str) -> tuple[Best | None, str | None]:
    """Return a model's pointer and its token for `Store.replace`, or two None."""
    key = locate_best(name)
    try:
        data, token = store.read_token(key)
    except FileNotFoundError:
        return None, None
    return Best.from_bytes(data, f"{store.uri}/{key}"), token


def _check_plain(kind: str, value: str) -> str:
    if not PLAIN_NAME.fullmatch(value):
        raise UserError(
            f"{kind} {value!r} is not 1 to 100 letters, digits, '-', '_' and '.', "
            "the first a letter or digit"
        )
    return value


def _find_manifests(store: Store, prefix: str) -> Iterator[tuple[str, str]]:
    for key in store.list(prefix):
        match key.split("/"):
            case ["models", name, "versions", version, str(file)] if file == MANIFEST:
                yield name, version


def _find_versions(store: Store, name: str) -> list[str]:
    versions = sorted(version for _, version in _find_manifests(store, f"models/{name}"))
    if not versions:
        hint = suggest(name, list_models(store))
        raise UserError(f"no model {name!r} is published in {store.uri}{hint}")
    return versions


def _read_best_manifest(store: Store, name: str) -> tuple[bytes, Manifest]:
    best, _ = read_best(store, name)
    if best is None:
        latest = _find_versions(store, name)[-1]
        raise UserError(f"model {name!r} has no best version, name one such as {name}@{latest}")
    data, manifest = read_manifest(store, name, best.version)
    found = hash_bytes(data)
    if found != best.manifest_sha256:
        raise IntegrityError(
            f"{store.uri}/{locate_version(name, best.version)}/{MANIFEST} was changed: "
            f"expected sha256 {best.manifest_sha256}, found {found}"
        )
    return data, manifest


def read_metrics(store: Store, name: str, version: str) -> dict[str, float]:
    """A published version's metrics, verified; raises UserError, an IntegrityError if changed."""
    _, manifest = read_manifest(store, name, version)
    key = f"{locate_version(name, version)}/{METRICS}"
    metrics = parse_object(
        _read_published(store, key, manifest.files[METRICS]), f"{store.uri}/{key}"
    )
    return {metric: float(value) for metric, value in metrics.items() if is_number(value)}


def _read_published(store: Store, key: str, record: FileRecord) -> bytes:
    """An object's bytes; raises IntegrityError unless they are the recorded ones."""
    where = f"{store.uri}/{key}"
    try:
        data = store.read(key)
    except FileNotFoundError as error:
        raise IntegrityError(f"{where} is missing, the manifest lists it") from error
    check_record(FileRecord.from_bytes(data), record, where)
    return data


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
