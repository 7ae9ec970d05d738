"""From the bytes of published and local files to images, labels and a test split."""

import io
import tarfile
import tokenize
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vae.data.packages import read_tar
from vae.data.sources import BAD_ARCHIVE
from vae.errors import UserError, extract_message
from vae.files import hash_bytes

CHANNELS = (1, 3)
FEWEST_IMAGES = 14
HELD_OUT = "by content"  # how a local set is split; another way makes another dataset of it
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

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"


class Split(NamedTuple):
    """Images uint8 [N, C, H, W] and labels int64 [N]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


class Parsed(NamedTuple):
    """A dataset as published: everything to train with, the test split, and how many classes."""

    train: Split
    test: Split
    classes: int


def read_local_files(path: Path) -> dict[str, bytes]:
    """A file, or every PNG and JPEG below a folder: relative name -> bytes, in order of name.

    Names that start with a dot, and what is below them, are left out. Raises UserError.
    """
    try:
        if path.is_file():
            return {path.name: path.read_bytes()}
        names = sorted(name.relative_to(path) for name in path.rglob("*"))
        images = {
            name.as_posix(): (path / name).read_bytes()
            for name in names
            if name.suffix.lower() in (".png", ".jpg", ".jpeg")
            and not any(part.startswith(".") for part in name.parts)
        }
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from error
    if not images:
        raise UserError(f"{path}: no .png, .jpg or .jpeg file in this folder or below it")
    return images


def parse_idx(files: Mapping[str, bytes]) -> Parsed:
    """MNIST's four IDX files; raises UserError."""
    images = {name: _read_idx(name, files[name])[:, None] for name in (TRAIN_IMAGES, TEST_IMAGES)}
    labels = {name: _read_idx(name, files[name]) for name in (TRAIN_LABELS, TEST_LABELS)}
    return Parsed(
        _check_labels(TRAIN_LABELS, images[TRAIN_IMAGES], labels[TRAIN_LABELS]),
        _check_labels(TEST_LABELS, images[TEST_IMAGES], labels[TEST_LABELS]),
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
            raise UserError(
                f"{name}: not an IDX file of bytes: {extract_message(error)}"
            ) from error
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
        raise UserError(f"{CIFAR10_ARCHIVE}: not its archive: {extract_message(error)}") from error


def _read_cifar(name: str, data: bytes) -> Split:
    """Records of a label byte and 3 x 32 x 32 bytes of image."""
    size = 1 + 3 * 32 * 32
    if len(data) % size:
        raise UserError(f"{name}: {len(data)} bytes, must be records of {size}")
    records = np.frombuffer(data, np.uint8).reshape(-1, size)
    images, labels = records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)
    return _check_labels(name, images, labels)


def _check_labels(name: str, images: NDArray[Any], labels: NDArray[Any]) -> Split:
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
        raise UserError(f"{file}: not an image: {extract_message(error)}") from error
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
        raise UserError(f"{file}: not a .npy file of an array: {extract_message(error)}") from error
    axes = [axis for axis in (1, 3) if array.ndim == 4 and array.shape[axis] in CHANNELS]
    if array.dtype != np.uint8 or not array.size or (array.ndim != 3 and len(axes) != 1):
        raise UserError(
            f"{file}: {array.dtype} {list(array.shape)}, must be uint8 images [N, H, W], "
            "[N, H, W, C] or [N, C, H, W] with C 1 or 3"
        )
    images = np.moveaxis(array, axes[0], 1) if axes else array[:, None]
    return _hold_out(np.ascontiguousarray(images), np.zeros(len(images), np.int64))


def _hold_out(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Parsed:
    """Order by content, and make a test split of about one image in seven, MNIST's share.

    An image's SHA-256 decides, so that it keeps its place when others come: the test split has
    those below a seventh of all digests, and the validation split will have those next to them.
    What an older model was trained on is then never among the images by which a new one is to beat
    it.
    """
    total = len(images)
    if total < FEWEST_IMAGES:
        raise UserError(
            f"{total} images are too few, must be at least {FEWEST_IMAGES}: one in seven is held "
            "out for the test, and a picture joins two of those"
        )
    digests = [hash_bytes(image.tobytes()) for image in images]
    rows = np.array(sorted(range(total), key=lambda row: digests[row], reverse=True))
    below = sum(int(digest, 16) < 2**256 // 7 for digest in digests)
    train, test = (
        Split(images[part], labels[part]) for part in np.split(rows, [total - max(below, 2)])
    )
    return Parsed(train, test, classes=int(labels.max()) + 1)
