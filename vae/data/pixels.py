"""Images on their way into the store: taken a few at a time, whatever they are read from."""

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

PIECE_BYTES = 8 << 20  # of images in memory at once


class Pixels(Protocol):
    """Uint8 images [N, C, H, W]: an array, or what reads some of them when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[np.uint8]: ...


class Chosen:
    """Some images of others, by their numbers and in that order."""

    def __init__(self, images: Pixels, numbers_N: NDArray[np.int64]) -> None:
        self.images, self.numbers = images, numbers_N

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, C, H, W]."""
        return (len(self.numbers), *self.images.shape[1:])

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[np.uint8]:
        return self.images[self.numbers[rows]]


def cut(images: Pixels, rows: range | None = None) -> Iterator[slice]:
    """Yield the parts of some rows, or of all: each of PIECE_BYTES at most, or one image."""
    rows = range(len(images)) if rows is None else rows
    at_once = max(1, PIECE_BYTES // max(1, math.prod(images.shape[1:])))
    for start in range(rows.start, rows.stop, at_once):
        yield slice(start, min(start + at_once, rows.stop))
