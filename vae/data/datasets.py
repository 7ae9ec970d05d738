"""Datasets: fetched, verified, parsed, split, and written to the store once."""

import dataclasses
import io
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae.data.arrays import fit_images
from vae.data.catalogue import DATASETS, DatasetSpec
from vae.data.formats import Parsed, Split
from vae.data.images import Look
from vae.data.local_sets import locate_set, open_set
from vae.data.sources import fetch, find_cache, log
from vae.errors import UserError, suggest
from vae.experiments.settings import DataConfig
from vae.files import hash_bytes
from vae.store.promises import Store

FORMAT = 1  # raise it when prepare() would write other arrays, so that old ones are not reused
_LOCAL = "2"  # the same for local sets alone
_REMEDY = "delete this folder and begin a new run, which prepares the dataset again"


class ChecksumError(UserError):
    """A file in the store is missing or is not what its record says."""


@dataclass(frozen=True, kw_only=True)
class DatasetRef:
    """A dataset that is complete in the store; stored as <key>/dataset.json.

    `digest` is the SHA-256 over the sorted (file, sha256) pairs of `files`; `shape` is (C, H, W).
    `class_names` are in order of label, or empty; `notes` say what was left out or changed.
    """

    key: str
    name: str
    digest: str
    shape: tuple[int, int, int]
    counts: dict[str, int]
    classes: int
    files: dict[str, str]
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Indented JSON; the same reference gives the same text."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "DatasetRef":
        """Inverse of `to_json`; raises UserError."""
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the text"
            raise UserError(f"not a dataset record: {where}: {first['msg']}") from error


def locate(config: DataConfig) -> DataConfig:
    """The config with a local dataset's absolute path, since workers have folders of their own.

    For the process that is given a name, while the files are there: later ones may run where only
    the store is. Raises UserError for what is no dataset and no path.
    """
    if config.name in DATASETS:
        return config
    located = locate_set(config.name)
    if located is None:
        raise UserError(
            f"data.name is {config.name!r}, no dataset and no path, allowed: "
            f"{', '.join(DATASETS)}, a folder of images, a pattern such as pets/*.jpg, a .npy or "
            f".csv file, or the URL of one{suggest(config.name, DATASETS)}"
        )
    return dataclasses.replace(config, name=located)


def prepare(config: DataConfig, store: Store) -> DatasetRef:
    """Fetch, verify, parse, split and write a dataset, unless the store has it; raises UserError.

    A published dataset that is in the store is found without a network; of a local one the files
    are read each time, because their content names it. What was left out or changed is logged.
    """
    if config.name in DATASETS:
        if os.path.isdir(config.name):
            log.warning(
                "data     %s is the published dataset; the folder of that name is ./%s",
                *(config.name, config.name),
            )
        return prepare_from(DATASETS[config.name], config, store, find_cache())
    located = locate(config)
    found = open_set(located)
    name = re.sub(r"[^a-z0-9]+", "-", found.title.lower()).strip("-") or "local"
    key = _derive_key(name, found.contents | {"": _LOCAL}, config)  # no content has an empty name
    ref = _find(key, store) or _write(key, name, found.parse(), located, store)
    if ref.notes:
        log.warning("data     %s: %s", name, ", ".join(ref.notes))
    return ref


def prepare_from(spec: DatasetSpec, config: DataConfig, store: Store, cache: Path) -> DatasetRef:
    """`prepare` for a published dataset, keeping its verified files below `cache`."""
    key = _derive_key(spec.name, spec.digests, config)
    if ref := _find(key, store):
        return ref
    files = fetch(spec.name, spec.digests, spec.sources(), cache / spec.name)
    parsed = spec.parse(files)
    return _write(key, spec.name, parsed._replace(class_names=spec.class_names), config, store)


def load(ref: DatasetRef, store: Store, split: str) -> Split:
    """One of the splits in `ref.counts`; raises ChecksumError."""
    loaded = Split(_read(f"{split}.npy", ref, store), _read(f"{split}-labels.npy", ref, store))
    expected, found = (ref.counts.get(split), *ref.shape), loaded.images.shape
    if found != expected or int(loaded.labels.max()) >= ref.classes:
        raise ChecksumError(
            f"{store.uri}/{ref.key}/dataset.json: says {expected} and {ref.classes} classes of "
            f"{split}, found {found} and labels up to {loaded.labels.max()}; {_REMEDY}"
        )
    return loaded


def hold_out(parsed: Parsed, config: DataConfig) -> dict[str, Split]:
    """Hold out the last training images for validation, then apply the limit; raises UserError.

    A set with a validation split of its own keeps it.
    """
    total = len(parsed.train.images)
    held_out = 0 if parsed.val else config.validation
    if held_out >= total:
        raise UserError(
            f"{config.name}: validation = {config.validation} leaves none of its {total} training "
            f"images to train with; must be less than {total}"
        )
    train = total - held_out
    parts = {
        "train": Split(parsed.train.images[:train], parsed.train.labels[:train]),
        "val": parsed.val or Split(parsed.train.images[train:], parsed.train.labels[train:]),
        "test": parsed.test,
    }
    first = slice(config.limit or None)
    return {name: Split(images[first], labels[first]) for name, (images, labels) in parts.items()}


def _derive_key(name: str, digests: Mapping[str, str], config: DataConfig) -> str:
    """Where the arrays belong: known before a file is fetched, from the pinned digests."""
    recipe = [FORMAT, sorted(digests.items()), config.validation, config.limit]
    if (look := Look.of(config)) != Look():
        recipe.append(look)
    return f"datasets/{name}-{hash_bytes(json.dumps(recipe).encode())[:8]}"


def _find(key: str, store: Store) -> DatasetRef | None:
    where = f"{store.uri}/{key}/dataset.json"
    try:
        data = store.read(f"{key}/dataset.json")
    except FileNotFoundError:
        return None
    try:
        ref = DatasetRef.from_json(data)
    except UserError as error:
        raise ChecksumError(f"{where}: {error}; {_REMEDY}") from error
    if ref.key != key or ref.digest != _hash_files(ref.files):
        raise ChecksumError(f"{where}: its key or digest is not that of its files; {_REMEDY}")
    return ref


def _hash_files(files: Mapping[str, str]) -> str:
    return hash_bytes(json.dumps(sorted(files.items())).encode())


def _write(key: str, name: str, parsed: Parsed, config: DataConfig, store: Store) -> DatasetRef:
    """Write the arrays, then the record without which nobody looks at them."""
    splits, digests, changes = hold_out(parsed, config), {}, tuple[str, ...]()
    for part, (images, labels) in splits.items():
        fitted, changes = fit_images(images, Look.of(config))
        splits[part] = Split(fitted, labels)
    for part, (images, labels) in splits.items():
        for file, array in ((f"{part}.npy", images), (f"{part}-labels.npy", labels)):
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            digests[file] = hash_bytes(buffer.getvalue())
            store.put(f"{key}/{file}", buffer.getvalue())
    ref = DatasetRef(
        key=key,
        name=name,
        digest=_hash_files(digests),
        shape=splits["train"].images.shape[1:],
        counts={part: len(images) for part, (images, _) in splits.items()},
        classes=parsed.classes,
        files=digests,
        class_names=parsed.class_names,
        notes=(*parsed.notes, *changes),
    )
    with suppress(FileExistsError):  # another process was first, with the same bytes
        store.create(f"{key}/dataset.json", ref.to_json().encode())
    return ref


def _read(file: str, ref: DatasetRef, store: Store) -> NDArray[Any]:
    where, expected = f"{store.uri}/{ref.key}/{file}", ref.files[file]
    try:
        data = store.read(f"{ref.key}/{file}")
    except FileNotFoundError as error:
        raise ChecksumError(f"{where}: missing; {_REMEDY}") from error
    if (found := hash_bytes(data)) != expected:
        raise ChecksumError(f"{where}: sha256 expected {expected}, found {found}; {_REMEDY}")
    array: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return array
