"""The registry of models: immutable versions, and one pointer to the best of them.

This module writes; what reads is in `vae.registry.read` and offered here as well.
"""

import hashlib
import logging
import math
import platform
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from vae.errors import UserError
from vae.registry.manifest import (
    MANIFEST,
    MODEL,
    Best,
    FileRecord,
    IntegrityError,
    Manifest,
    check_names,
    check_safetensors,
    verify,
)
from vae.registry.read import (
    VersionInfo,
    best_key,
    list_models,
    list_versions,
    pull,
    read_best,
    read_manifest,
    version_folder,
)
from vae.store import Conflict, Store

__all__ = [
    "Best",
    "IntegrityError",
    "Manifest",
    "VersionInfo",
    "list_models",
    "list_versions",
    "promote",
    "publish",
    "pull",
    "verify",
]

METRIC = "val/nll"
PACKAGES = ("torch", "torchvision", "ray", "prefect", "wandb", "s3fs", "vae-pipeline")

log = logging.getLogger(__name__)


def publish(
    store: Store,
    name: str,
    version: str,
    directory: Path,
    *,
    run_id: str,
    dataset_digest: str,
    experiment: dict[str, Any],
) -> Manifest:
    """Publish every file of `directory` as one version that never changes, and return its manifest.

    A file that is there already, from before a crash or of another publisher of the run, stays: its
    pictures and its report may differ by the machine that made them. Publishing again completes the
    version or does nothing. Raises UserError if the version exists with another model or of other
    origin, IntegrityError if `directory` holds what a version may not.
    """
    folder = version_folder(name, version)
    manifest = Manifest(
        name=name,
        version=version,
        run_id=run_id,
        dataset=dataset_digest,
        experiment=experiment,
        packages=package_versions(),
        files=_records(directory),
    )
    manifest = Manifest.from_bytes(manifest.to_bytes(), str(directory))  # as a reader will see it
    try:
        return _same(manifest, store, folder)
    except FileNotFoundError:
        manifest = replace(manifest, files=_uploaded(manifest, store, folder, directory))
    try:
        store.create(f"{folder}/{MANIFEST}", manifest.to_bytes())
    except FileExistsError:
        return _same(manifest, store, folder)
    return manifest


def promote(store: Store, name: str, version: str, value: float, *, metric: str = METRIC) -> bool:
    """Make a published version the best if its `value` (nats, lower is better) beats the best's.

    Returns whether `best.json` names this version afterwards. A value that is not finite, or is not
    comparable with the best's because the dataset or the metric differs, is logged and never wins.
    Raises UserError if the version is not published.
    """
    if not math.isfinite(value):
        log.warning("%s %s is not promoted: its %s is %s", name, version, metric, value)
        return False
    data, manifest = read_manifest(store, name, version)
    candidate = Best(
        version=version,
        metric=metric,
        value=value,
        manifest_sha256=hashlib.sha256(data).hexdigest(),
        dataset=manifest.dataset,
    )
    while True:
        best, token = read_best(store, name)
        if best is not None and not _beats(candidate, best, name):
            return best.version == version
        try:
            store.replace(best_key(name), candidate.to_bytes(), token)
        except Conflict:
            continue  # another version was promoted meanwhile: compare with that one
        return True


def package_versions() -> dict[str, str]:
    """Python's version, and the installed ones of PACKAGES by name."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _records(directory: Path) -> dict[str, FileRecord]:
    if not directory.is_dir():
        raise UserError(f"{directory} is not a folder to publish")
    records = {}
    for path in sorted(directory.iterdir()):
        if path.is_symlink() or not path.is_file():
            raise IntegrityError(f"{path} is not a plain file, a version holds nothing else")
        check_safetensors(path, str(path))
        records[path.name] = FileRecord.of(path)
    check_names(records, str(directory))
    return records


def _uploaded(
    manifest: Manifest, store: Store, folder: str, directory: Path
) -> dict[str, FileRecord]:
    """Write each file once; the records of what is in the store, these or whoever's were first."""
    stored = dict(manifest.files)
    for file in stored:
        try:
            store.create(f"{folder}/{file}", (directory / file).read_bytes())
        except FileExistsError:
            stored[file] = FileRecord.of_bytes(store.read(f"{folder}/{file}"))
    if stored[MODEL] != manifest.files[MODEL]:
        raise UserError(f"{store.uri}/{folder}/{MODEL} is another model's, publish under a new one")
    return stored


def _same(manifest: Manifest, store: Store, folder: str) -> Manifest:
    """Return the published manifest if it says the same; raises FileNotFoundError if none is."""
    where = f"{store.uri}/{folder}"
    published = Manifest.from_bytes(store.read(f"{folder}/{MANIFEST}"), f"{where}/{MANIFEST}")
    ours, theirs = _identity(manifest), _identity(published)
    for field in ours:
        if ours[field] != theirs[field]:
            raise UserError(
                f"{where} is already published with other {field}: a version never changes, "
                "publish under a new one"
            )
    return published


def _identity(manifest: Manifest) -> dict[str, Any]:
    """What is the same whoever publishes a version."""
    fields = {field: getattr(manifest, field) for field in ("name", "version", "run_id", "dataset")}
    return fields | {"experiment": manifest.experiment, "model": manifest.files[MODEL].sha256}


def _beats(candidate: Best, best: Best, name: str) -> bool:
    for field in ("dataset", "metric"):
        ours, theirs = getattr(candidate, field), getattr(best, field)
        if ours != theirs:
            log.warning(
                "%s %s is not promoted: its %s is %s, that of the best (%s) is %s; delete %s to "
                "begin anew with the next version",
                *(name, candidate.version, field, ours, best.version, theirs, best_key(name)),
            )
            return False
    return candidate.value < best.value
