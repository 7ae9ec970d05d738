"""A user's .npy file: any plain numbers that are images, by rule and told, or refused."""

import mmap
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vae.data.images import Look, fit, to_array
from vae.data.paging import announce, find_map, release
from vae.data.pixels import cut
from vae.errors import UserError, extract_message

CHANNELS = (1, 3)
ALLOWED = "must be images [N, H, W], [N, H, W, C] or [N, C, H, W] with C 1 or 3"
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


def map_array(path: Path, where: str) -> NDArray[Any]:
    """The array in a .npy file, never a pickle, mapped rather than read. Raises UserError.

    A page that is missing is read alone: in a split, neighbours are no neighbours in the file.
    """
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except _BAD_NPY as error:
        raise UserError(
            f"{where}: not a .npy file of an array: {extract_message(error)}"
        ) from error
    if (mapped := find_map(array)) is not None and array.flags.c_contiguous:
        mapped.madvise(mmap.MADV_RANDOM)
    return array


class ArrayImages:
    """Uint8 images [N, C, H, W] of a .npy file, of which pieces are read and brought to levels."""

    def __init__(self, array: NDArray[Any], axis: int | None, scaled: bool) -> None:
        self.array, self.axis, self.scaled = array, axis, scaled

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, C, H, W]."""
        if self.axis is None:
            return (len(self.array), 1, *self.array.shape[1:])
        rest = (size for axis, size in enumerate(self.array.shape) if axis not in (0, self.axis))
        return (len(self.array), self.array.shape[self.axis], *rest)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[np.uint8]:
        announce(self.array, np.arange(len(self))[rows] if isinstance(rows, slice) else rows)
        part = self.array[rows]
        levels = (np.rint(part * 255.0) if self.scaled else part).astype(np.uint8)
        release(self.array)
        placed = levels[:, None] if self.axis is None else np.moveaxis(levels, self.axis, 1)
        return np.ascontiguousarray(placed)


def open_images(path: Path, where: str) -> tuple[ArrayImages, tuple[str, ...]]:
    """The images of a .npy file, and what is changed, in words. Raises UserError."""
    array = map_array(path, where)
    given = f"{where}: {array.dtype} {list(array.shape)}"
    if array.ndim == 3 and array.shape[-1] in (1, 3, 4) and array.shape[1] != array.shape[2]:
        raise UserError(
            f"{given} is one picture, or images {array.shape[-1]} wide: {ALLOWED}; "
            "one picture is [1, H, W, C]"
        )
    axes = [axis for axis in (1, 3) if array.ndim == 4 and array.shape[axis] in CHANNELS]
    if not array.size or (array.ndim != 3 and len(axes) != 1):
        raise UserError(f"{given}, {ALLOWED}")
    scaled, changes = _find_scale(array, given)
    return ArrayImages(array, axes[0] if axes else None, scaled), changes


def read_labels(path: Path, where: str, count: int) -> list[str]:
    """The class of each of `count` images from a .npy file of numbers or text. Raises UserError."""
    array = map_array(path, where)
    if array.shape not in ((count,), (count, 1)) or array.dtype.kind not in "iubU":
        raise UserError(
            f"{where}: {array.dtype} {list(array.shape)}, "
            f"must be a whole number or text for each of {count} images"
        )
    values = array.reshape(-1)
    if array.dtype.kind == "U":
        return [str(value) for value in values]
    width = max(len(str(values.min())), len(str(values.max())))
    return [f"{int(value):0{width}}" for value in values]  # so that their order is that of numbers


def fit_images(
    images_NCHW: NDArray[np.uint8], look: Look
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Images with the size and colours of `look`, and what was changed, in words."""
    channels, *sides = images_NCHW.shape[1:]
    if look.colours in (0, channels) and look.size in (0, *sides) and len(set(sides)) == 1:
        return images_NCHW, ()
    if not look.size and look.colours in (0, channels):
        return images_NCHW, ()
    fitted = [fit(_show(image), look) for image in images_NCHW]
    images = np.stack([to_array(image) for image, _ in fitted])
    return images, tuple(f"all {change}" for change in fitted[0][1])


def _show(image_CHW: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(image_CHW[0] if len(image_CHW) == 1 else np.moveaxis(image_CHW, 0, -1))


def _find_scale(array: NDArray[Any], given: str) -> tuple[bool, tuple[str, ...]]:
    """Whether truth values and shares of 1 are scaled to levels, or whole numbers are taken."""
    if array.dtype.kind == "b":
        return True, ("false and true shown as 0 and 255",)
    if array.dtype.kind not in "iuf":
        raise UserError(f"{given}, must be numbers: {ALLOWED}")
    low, high, whole = _measure(array)
    if low >= 0 and high <= 1 and (high > 0 or not whole):
        name = "0 and 1" if whole else "levels from 0 to 1"
        return True, (f"{name} scaled to 0 and 255",)
    if not (low >= 0 and high <= 255 and whole):
        raise UserError(
            f"{given} from {low} to {high}, "
            "must be shares from 0 to 1, or whole numbers from 0 to 255"
        )
    changes = () if array.dtype == np.uint8 else (f"{array.dtype} taken as levels of 0 to 255",)
    return False, changes


def _measure(array: NDArray[Any]) -> tuple[Any, Any, bool]:
    """The lowest and the highest number, NaN if one is, and whether all are whole."""
    ends, whole = [], True
    for part in cut(array):
        announce(array, np.arange(part.start, part.stop))
        piece = array[part]
        ends += [piece.min(), piece.max()]
        whole = whole and (array.dtype.kind in "iu" or bool((piece == np.trunc(piece)).all()))
        release(array)
    return np.min(ends), np.max(ends), whole
