"""A user's .npy file: any plain numbers that are images, by rule and told, or refused."""

import io
import tokenize
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae.data.images import Look, fit
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


def read_array(data: bytes, where: str) -> NDArray[Any]:
    """The array in a .npy file, never a pickle. Raises UserError."""
    try:
        array: NDArray[Any] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except _BAD_NPY as error:
        raise UserError(
            f"{where}: not a .npy file of an array: {extract_message(error)}"
        ) from error
    return array


def read_images(data: bytes, where: str) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Uint8 [N, C, H, W] from a .npy file, and what was changed, in words. Raises UserError."""
    array = read_array(data, where)
    given = f"{where}: {array.dtype} {list(array.shape)}"
    if array.ndim == 3 and array.shape[-1] in (1, 3, 4) and array.shape[1] != array.shape[2]:
        raise UserError(
            f"{given} is one picture, or images {array.shape[-1]} wide: {ALLOWED}; "
            "one picture is [1, H, W, C]"
        )
    axes = [axis for axis in (1, 3) if array.ndim == 4 and array.shape[axis] in CHANNELS]
    if not array.size or (array.ndim != 3 and len(axes) != 1):
        raise UserError(f"{given}, {ALLOWED}")
    levels, changes = _to_levels(array, given)
    images = np.moveaxis(levels, axes[0], 1) if axes else levels[:, None]
    return np.ascontiguousarray(images), changes


def read_labels(data: bytes, where: str, count: int) -> list[str]:
    """The class of each of `count` images from a .npy file of numbers or text. Raises UserError."""
    array = read_array(data, where)
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
    fitted = [fit(np.moveaxis(image, 0, -1), look) for image in images_NCHW]
    images = np.stack([np.moveaxis(image, -1, 0) for image, _ in fitted])
    return np.ascontiguousarray(images), tuple(f"all {change}" for change in fitted[0][1])


def _to_levels(array: NDArray[Any], given: str) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Levels from 0 to 255: truth values and shares of 1 are scaled, whole numbers are taken."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * 255, ("false and true shown as 0 and 255",)
    if array.dtype.kind not in "iuf":
        raise UserError(f"{given}, must be numbers: {ALLOWED}")
    low, high = array.min(), array.max()
    whole = array.dtype.kind in "iu" or bool((array == np.trunc(array)).all())
    if low >= 0 and high <= 1 and (high > 0 or not whole):
        name = "0 and 1" if whole else "levels from 0 to 1"
        return np.rint(array * 255.0).astype(np.uint8), (f"{name} scaled to 0 and 255",)
    if not (low >= 0 and high <= 255 and whole):
        raise UserError(
            f"{given} from {low} to {high}, "
            "must be shares from 0 to 1, or whole numbers from 0 to 255"
        )
    changes = () if array.dtype == np.uint8 else (f"{array.dtype} taken as levels of 0 to 255",)
    return array.astype(np.uint8), changes
