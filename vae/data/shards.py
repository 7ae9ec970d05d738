"""A split as files of the store: arrays of at most SHARD_BYTES, and its labels."""

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vae.data.arrays import fit_images
from vae.data.formats import Split
from vae.data.images import Look
from vae.data.in_order import map_in_order
from vae.data.pixels import Pixels, cut
from vae.files import write_whole
from vae.store.promises import Store

SHARD_BYTES = 256_000_000  # of pixels
WRITERS = 4  # threads: some hash or wait for the disk while the others gather their images


class Written(NamedTuple):
    """The SHA-256 of every file of a split by name, the shape [C, H, W], what was changed."""

    files: dict[str, str]
    shape: tuple[int, int, int]
    changes: tuple[str, ...]


def name_shards(split: str, count: int) -> list[str]:
    """The files of a split's images, in order."""
    return [f"{split}.npy"] if count == 1 else [f"{split}-{n:05}.npy" for n in range(count)]


def find_shards(split: str, files: Mapping[str, str]) -> list[str]:
    """Those of `name_shards` among the files of a dataset."""
    return sorted(file for file in files if re.fullmatch(rf"{split}(-\d{{5}})?\.npy", file))


class ShardWriter:
    """Writes splits below a key of the store, by way of a folder in which few shards are at a time.

    In the folder it is remembered what was written, so that after a kill the rest is enough.
    """

    def __init__(
        self, store: Store, key: str, folder: Path, shard_bytes: int = SHARD_BYTES
    ) -> None:
        self.store, self.key, self.folder = store, key, folder
        self.shard_bytes = shard_bytes

    def write(self, name: str, split: Split, look: Look) -> Written:
        """Write a split, its images brought to `look`. Raises OSError where the folder is full."""
        fitted, changes = fit_images(split.images[:1], look)
        shape = fitted.shape[1:]
        at_once = max(1, self.shard_bytes // fitted.nbytes)
        everything = range(len(split.labels))
        parts = [everything[at : at + at_once] for at in range(0, len(everything), at_once)]

        def keep(shard: tuple[str, range]) -> tuple[str, str]:
            file, rows = shard
            pieces = fit_pieces(split.images, rows, look)
            return file, self.keep(file, (len(rows), *shape), "|u1", pieces)

        shards = zip(name_shards(name, len(parts)), parts, strict=True)
        digests = dict(map_in_order(keep, shards, WRITERS))
        file, labels = f"{name}-labels.npy", split.labels
        digests[file] = self.keep(file, labels.shape, labels.dtype.str, iter([labels]))
        return Written(digests, shape, changes)

    def keep(
        self, file: str, shape: tuple[int, ...], descr: str, pieces: Iterator[NDArray[np.generic]]
    ) -> str:
        """Write an array that is given in pieces as one object, unless it is there; its SHA-256."""
        path, mark, key = self.folder / file, self.folder / f"{file}.sha256", f"{self.key}/{file}"
        if (known := read_mark(mark)) and self.store.exists(key):
            return known
        digest = write_array(path, shape, descr, pieces)
        self.store.put_file(key, path)
        write_whole(mark, digest.encode())
        path.unlink(missing_ok=True)
        return digest


def read_mark(path: Path) -> str:
    """The SHA-256 that was noted there; "" if there is none, or a disk has lost it."""
    noted = path.read_bytes() if path.exists() else b""
    return noted.decode() if re.fullmatch(rb"[0-9a-f]{64}", noted) else ""


def fit_pieces(images: Pixels, rows: range, look: Look) -> Iterator[NDArray[np.uint8]]:
    """Yield some of the images, a few at a time, brought to `look`."""
    for piece in cut(images, rows):
        yield fit_images(images[piece], look)[0]


def write_array(
    path: Path, shape: tuple[int, ...], descr: str, pieces: Iterator[NDArray[np.generic]]
) -> str:
    """Write a .npy file, the same bytes as np.save's of the pieces joined; its SHA-256."""
    with path.open("wb") as file:
        hashing = Hashing(file)
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(hashing, header)
        for piece in pieces:
            hashing.write(np.ascontiguousarray(piece).data.cast("B"))
    return hashing.sha256.hexdigest()


class Hashing:
    """A file that is written, and the SHA-256 of what was."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256 = file, sha256()

    def write(self, data: bytes | memoryview) -> None:
        """Write and hash."""
        self.sha256.update(data)
        self.file.write(data)
