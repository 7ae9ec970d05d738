"""Datasets: fetched, verified, parsed, split, and written to the store once, shard by shard."""

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vae.data.catalogue import DATASETS, DatasetSpec
from vae.data.formats import Parsed, Split
from vae.data.images import Look
from vae.data.local_sets import locate_set, open_set
from vae.data.preparing import prepare_in
from vae.data.shards import ShardWriter
from vae.data.sources import fetch, find_cache, log
from vae.errors import UserError, suggest
from vae.experiments.settings import DataConfig
from vae.files import hash_bytes
from vae.store.promises import Store

FORMAT = 1  # raise it when prepare() would write other arrays, so that old ones are not reused
_LOCAL = "2"  # the same for local sets alone
SHEET = "contact-sheet.png"  # the picture beside dataset.json
REMEDY = "delete this folder and begin a new run, which prepares the dataset again"


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
    ref = _find(key, store)
    if ref is None:
        with prepare_in(find_cache(), Path(key).name) as folder:
            ref = _find(key, store) or _write(
                key, name, found.parse(folder), located, store, folder
            )
    if ref.notes:
        log.warning("data     %s: %s", name, ", ".join(ref.notes))
    return ref


def prepare_from(spec: DatasetSpec, config: DataConfig, store: Store, cache: Path) -> DatasetRef:
    """`prepare` for a published dataset, keeping its verified files below `cache`."""
    key = _derive_key(spec.name, spec.digests, config)
    if ref := _find(key, store):
        return ref
    files = fetch(spec.name, spec.digests, spec.sources(), cache / spec.name)
    parsed = spec.parse(files)._replace(class_names=spec.class_names)
    with prepare_in(cache, Path(key).name) as folder:
        return _find(key, store) or _write(key, spec.name, parsed, config, store, folder)


def hold_out(parsed: Parsed, config: DataConfig) -> dict[str, Split]:
    """Hold out the last training images for validation, then apply the limit; raises UserError.

    A set with a validation split of its own keeps it.
    """
    total = len(parsed.train.labels)
    held_out = 0 if parsed.val else config.validation
    if held_out >= total:
        raise UserError(
            f"{config.name}: validation = {config.validation} leaves none of its {total} training "
            f"images to train with; must be less than {total}"
        )
    train = total - held_out
    parts = {
        "train": parsed.train.choose(slice(train)),
        "val": parsed.val or parsed.train.choose(slice(train, None)),
        "test": parsed.test,
    }
    first = slice(config.limit or None)
    return {name: split.choose(first) for name, split in parts.items()}


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
        raise ChecksumError(f"{where}: {error}; {REMEDY}") from error
    if ref.key != key or ref.digest != _hash_files(ref.files):
        raise ChecksumError(f"{where}: its key or digest is not that of its files; {REMEDY}")
    return ref


def _hash_files(files: Mapping[str, str]) -> str:
    return hash_bytes(json.dumps(sorted(files.items())).encode())


def _write(
    key: str, name: str, parsed: Parsed, config: DataConfig, store: Store, folder: Path
) -> DatasetRef:
    """Write every split, then the record without which nobody looks at them."""
    writer, splits = ShardWriter(store, key, folder), hold_out(parsed, config)
    written = {part: writer.write(part, one, Look.of(config)) for part, one in splits.items()}
    files = {file: digest for one in written.values() for file, digest in one.files.items()}
    ref = DatasetRef(
        key=key,
        name=name,
        digest=_hash_files(files),
        shape=written["train"].shape,
        counts={part: len(split.labels) for part, split in splits.items()},
        classes=parsed.classes,
        files=files,
        class_names=parsed.class_names,
        notes=(*parsed.notes, *written["test"].changes),
    )
    with suppress(FileExistsError):  # another process was first, with the same bytes
        store.create(f"{key}/dataset.json", ref.to_json().encode())
    return ref
