"""Datasets: fetched, verified, parsed, split, and written to the store once."""

import dataclasses
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vae import sources
from vae.errors import UserError, closest

if TYPE_CHECKING:
    from vae.store import Store

FORMAT = 1  # raise it when the arrays of a dataset would change, so that old ones are not reused
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


class ChecksumError(UserError):
    """A file in the store is missing or is not what its record says."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images, and how they are split.

    `name` is one of DATASETS, or the path of a folder of images or of a .npy file. The last
    `validation` training images are held out; `limit` keeps the first n images of every split
    (0: all). `binarize="dynamic"` redraws training inputs at every step, `"none"` keeps grey
    levels; `binarize_seed` is that of the one binarisation of validation and test.
    """

    name: str = "mnist"
    validation: int = 10_000
    limit: int = 0
    binarize: Literal["dynamic", "none"] = "dynamic"
    binarize_seed: int = 0

    def __post_init__(self) -> None:
        if self.name not in DATASETS and not _is_local(self.name):
            raise ValueError(
                f"name: no dataset and no path '{self.name}', allowed: {', '.join(DATASETS)}, "
                f"or a folder of images or a .npy file{closest(self.name, DATASETS)}"
            )
        if self.validation < 1:
            raise ValueError(f"validation: {self.validation} images, must be at least 1")
        if self.limit < 0:
            raise ValueError(f"limit: {self.limit} images, must be at least 1, or 0 for all")
        if self.binarize not in ("dynamic", "none"):
            raise ValueError(f"binarize: '{self.binarize}', allowed: dynamic, none")
        if self.binarize_seed < 0:
            raise ValueError(f"binarize_seed: {self.binarize_seed}, must be at least 0")


@dataclass(frozen=True, kw_only=True)
class DatasetRef:
    """A dataset that is complete in the store; stored as <key>/dataset.json.

    `digest` is the SHA-256 over the sorted (file, sha256) pairs of `files`; `shape` is (C, H, W).
    """

    key: str
    name: str
    digest: str
    shape: tuple[int, int, int]
    counts: dict[str, int]
    classes: int
    files: dict[str, str]

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "DatasetRef":
        """Inverse of `to_json`. Raises UserError."""
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the text"
            raise UserError(f"not a dataset record: {where}: {first['msg']}") from error


class Split(NamedTuple):
    """Images uint8 [N, C, H, W] and labels int64 [N]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


class Parsed(NamedTuple):
    """A dataset as published: everything to train with, the test split, and how many classes."""

    train: Split
    test: Split
    classes: int


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A published dataset: its files (name -> SHA-256 of the content), and how to read them.

    Content is what a .gz holds, unless the file's own name ends in .gz. `sources` are asked in order.
    """

    name: str
    digests: Mapping[str, str]
    sources: Callable[[], Sequence[sources.Source]]
    parse: Callable[[Mapping[str, bytes]], Parsed]


def prepare(config: DataConfig, store: "Store") -> DatasetRef:
    """Fetch, verify, parse, split and write a dataset, unless the store has it. Raises UserError."""
    if config.name in DATASETS:
        return prepare_from(DATASETS[config.name], config, store, sources.cache_folder())
    path = Path(config.name)
    files = _local_files(path)
    digests = {name: sources.sha256(data) for name, data in files.items()}
    parse = parse_images if path.is_dir() else parse_npy
    name = re.sub(r"[^a-z0-9]+", "-", path.resolve().stem.lower()).strip("-") or "local"
    key = _key(name, digests, config)
    return _find(key, store) or _write(key, name, _splits(parse(files), config), store)


def prepare_from(spec: DatasetSpec, config: DataConfig, store: "Store", cache: Path) -> DatasetRef:
    """`prepare` for one published dataset, keeping verified downloads below `cache`."""
    key = _key(spec.name, spec.digests, config)
    if ref := _find(key, store):
        return ref
    files = sources.fetch(spec.name, spec.digests, spec.sources(), cache / spec.name)
    return _write(key, spec.name, spec.parse(files), config, store)
