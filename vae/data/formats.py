"""From the bytes of published files to images, labels and a test split."""

import io
import math
import tarfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vae.data.packages import read_tar
from vae.data.pixels import Chosen, Pixels
from vae.data.sources import BAD_ARCHIVE
from vae.errors import UserError, extract_message

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"


class Split(NamedTuple):
    """Images uint8 [N, C, H, W] and labels int64 [N]."""

    images: Pixels
    labels: NDArray[np.int64]

    def choose(self, rows: slice | NDArray[np.int64]) -> "Split":
        """Some of them, of which no image is read yet."""
        numbers = np.arange(len(self.labels))[rows]
        return Split(Chosen(self.images, numbers), self.labels[numbers])


class Parsed(NamedTuple):
    """A dataset as given: everything to train with, the test split, and how many classes.

    `val`: the validation split, where there is one of its own. `notes`: what was left out or
    changed, in words.
    """

    train: Split
    test: Split
    classes: int
    val: Split | None = None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def parse_idx(files: Mapping[str, bytes]) -> Parsed:
    """MNIST's four IDX files; raises UserError."""
    images = {name: _read_idx(name, files[name])[:, None] for name in (TRAIN_IMAGES, TEST_IMAGES)}
    labels = {
        name: _read_idx(name, files[name]).astype(np.int64) for name in (TRAIN_LABELS, TEST_LABELS)
    }
    return Parsed(
        _check_labels(TRAIN_LABELS, images[TRAIN_IMAGES], labels[TRAIN_LABELS]),
        _check_labels(TEST_LABELS, images[TEST_IMAGES], labels[TEST_LABELS]),
        classes=10,
    )


def _read_idx(name: str, data: bytes) -> NDArray[np.uint8]:
    """Images [N, H, W] or labels [N]: a header of bytes' code, axes and big-endian sizes, then all.

    torchvision reads them as well, but importing it takes longer than all else that is done here.
    """
    axes = 3 if "images" in name else 1
    begin = 4 + 4 * axes
    sizes = np.frombuffer(data[4:begin].ljust(4 * axes, b"\0"), ">u4").tolist()
    if data[:4] != bytes([0, 0, 8, axes]) or len(data) - begin != math.prod(sizes):
        raise UserError(
            f"{name}: not an IDX file of bytes: its header does not fit {len(data)} bytes"
        )
    return np.frombuffer(data, np.uint8, offset=begin).reshape(sizes)


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
