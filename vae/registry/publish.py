"""A version is written: every file once, its manifest last."""

import platform
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from vae.errors import UserError
from vae.registry.lineage import Start
from vae.registry.manifest import (
    MANIFEST,
    MODEL,
    FileRecord,
    IntegrityError,
    Manifest,
    check_names,
    check_safetensors,
)
from vae.registry.names import locate_version
from vae.registry.read import check_published
from vae.store.probe import check_promises
from vae.store.promises import Store

PACKAGES = ("torch", "torchvision", "ray", "prefect", "wandb", "s3fs", "vae-pipeline")


class Origin(NamedTuple):
    """Where a version comes from."""

    run_id: str
    dataset: str  # digest
    experiment: dict[str, Any]  # with the settings that won
    recipe: str = ""  # digest of all that decides the model; "" if a clock did
    start: Start | None = None  # the version whose weights its training began with
    cut: str = ""  # which time budget cut its run short
    made: Mapping[str, Any] = MappingProxyType({})  # as `describe_origin` gives it


def publish(store: Store, name: str, version: str, directory: Path, origin: Origin) -> Manifest:
    """Publish every file of `directory` as one version that never changes, and return its manifest.

    A file that is there already, from before a crash or of another publisher of the run, stays: its
    pictures and its report may differ by the machine that made them. Publishing again completes the
    version or does nothing. Raises UserError for a store that breaks its promises, and if the
    version exists with another model or of other origin; IntegrityError if one of its files was
    changed, or `directory` holds what a version may not.
    """
    folder = locate_version(name, version)
    manifest = Manifest(
        name=name,
        version=version,
        packages=list_packages(),
        files=_record_files(directory),
        run_id=origin.run_id,
        dataset=origin.dataset,
        experiment=origin.experiment,
        recipe=origin.recipe,
        lineage=origin.start.to_lineage() if origin.start else {},
        cut=origin.cut,
        made=dict(origin.made),
    )
    manifest = Manifest.from_bytes(manifest.to_bytes(), str(directory))  # as a reader will see it
    check_promises(store)
    try:
        return _check_same(manifest, store, folder)
    except FileNotFoundError:
        manifest = replace(manifest, files=_upload(manifest, store, folder, directory))
    try:
        store.create(f"{folder}/{MANIFEST}", manifest.to_bytes())
    except FileExistsError:
        return _check_same(manifest, store, folder)
    return manifest


def list_packages() -> dict[str, str]:
    """Python's version, and the installed ones of PACKAGES by name."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _record_files(directory: Path) -> dict[str, FileRecord]:
    if not directory.is_dir():
        raise UserError(f"{directory} is not a folder to publish")
    records = {}
    for path in sorted(directory.iterdir()):
        if path.is_symlink() or not path.is_file():
            raise IntegrityError(f"{path} is not a plain file, a version holds nothing else")
        check_safetensors(path, str(path))
        records[path.name] = FileRecord.from_file(path)
    check_names(records, str(directory))
    return records


def _upload(
    manifest: Manifest, store: Store, folder: str, directory: Path
) -> dict[str, FileRecord]:
    """Write each file once; the records of what is in the store, these or whoever's were first."""
    stored = dict(manifest.files)
    for file in stored:
        try:
            store.create_file(f"{folder}/{file}", directory / file)
        except FileExistsError:
            stored[file] = FileRecord.from_bytes(store.read(f"{folder}/{file}"))
    if stored[MODEL] != manifest.files[MODEL]:
        raise UserError(f"{store.uri}/{folder}/{MODEL} is another model's, publish under a new one")
    return stored


def _check_same(manifest: Manifest, store: Store, folder: str) -> Manifest:
    """Return the published manifest if it says the same and its files are there and whole.

    Raises FileNotFoundError if no manifest is published.
    """
    where = f"{store.uri}/{folder}"
    published = Manifest.from_bytes(store.read(f"{folder}/{MANIFEST}"), f"{where}/{MANIFEST}")
    ours, theirs = _identify(manifest), _identify(published)
    for field in ours:
        if ours[field] != theirs[field]:
            raise UserError(
                f"{where} is already published with other {field}: a version never changes, "
                "publish under a new one"
            )
    check_published(store, published.name, published.version)
    return published


def _identify(manifest: Manifest) -> dict[str, Any]:
    """What is the same whoever publishes a version."""
    fields = {field: getattr(manifest, field) for field in ("name", "version", "run_id", "dataset")}
    return fields | {"experiment": manifest.experiment, "model": manifest.files[MODEL].sha256}
