"""One image file: from its bytes to the pixels that a viewer shows, or one line why not."""

import functools
import io
import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from vae.data.jpeg import load_whole
from vae.data.orientation import turn_upright
from vae.errors import UserError, extract_message
from vae.experiments.settings import DataConfig

_USUAL = ("JPEG", "PNG")  # tried first: each format is asked whether a file begins as its own do
# What Pillow recognises but has no decoder of its own for, or what is data rather than a picture.
_NO_PICTURES = {
    *("BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MCIDAS", "MPEG", "SPIDER", "WMF", "XVTHUMB")
}
_FIRST_IS_THE_PICTURE = {"MPO", "PSD", "ICO", "ICNS"}  # more of them are previews, layers or sizes
_JPEG = ("JPEG", "MPO")
_SCALES = {"L;2": 85, "L;4": 17}  # of grey levels below 8 bits
SIXTEEN = "of 16 bits, of which the upper 8 are taken"
CMYK = "in CMYK, converted without a colour profile"
PROFILE = "with a colour profile other than sRGB, which is left alone"


class Look(NamedTuple):
    """What all images of a set are brought to; a size or number of colours of 0 leaves theirs."""

    size: int = 0
    colours: int = 0
    background: tuple[int, ...] = (255, 255, 255)

    @classmethod
    def of(cls, config: DataConfig) -> "Look":
        """The look that an experiment asks for."""
        return cls(config.size, config.colours, config.background)


class Decoded(NamedTuple):
    """An image, uint8 [C, H, W] with C 1 or 3, and what was changed to show it, in words."""

    image: NDArray[np.uint8]
    changes: tuple[str, ...]


def decode(data: bytes, look: Look) -> Decoded:
    """An image as a viewer shows it, then brought to `look`.

    Raises UserError, without the file's name, for what is broken, cut off, an animation, or holds
    something else than levels of 8 or 16 bits.
    """
    if not data:
        raise UserError("an empty file")
    try:
        shown, changes = _show(data, look.background)
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them to
        raise UserError(f"not an image: {_explain(error)}") from error
    image, more = fit(shown, look)
    return Decoded(to_array(image), (*changes, *more))


@functools.cache
def list_suffixes() -> frozenset[str]:
    """The suffixes of all files that are read, in small letters with their dot."""
    known = Image.registered_extensions()
    return frozenset(suffix for suffix, kind in known.items() if kind in _list_formats())


def fit(image: Image.Image, look: Look) -> tuple[Image.Image, tuple[str, ...]]:
    """An image in grey or colour with the size and colours of `look`, and what was changed.

    The short side is resized, by bicubic interpolation with antialiasing, and the centre is kept.
    Grey is 0.299 R + 0.587 G + 0.114 B.
    """
    changes = []
    if look.colours not in (0, len(image.getbands())):
        changes.append("in colour, taken as grey" if look.colours == 1 else "grey, taken as colour")
        image = image.convert("L" if look.colours == 1 else "RGB")
    if look.size and image.size != (look.size, look.size):
        larger = "enlarged" if min(image.size) < look.size else "reduced"
        cropped = "" if image.width == image.height else " and cropped"
        changes.append(f"{larger}{cropped} to {look.size}×{look.size}")
        image = _resize(image, look.size)
    return image, tuple(changes)


def to_array(image: Image.Image) -> NDArray[np.uint8]:
    """The levels [C, H, W] of an image in grey or colour."""
    planes = bytearray().join([image.tobytes("raw", band) for band in image.getbands()])
    return np.frombuffer(planes, np.uint8).reshape(-1, image.height, image.width)


@functools.cache
def _list_formats() -> list[str]:
    Image.init()
    return [*_USUAL, *sorted(set(Image.OPEN) - _NO_PICTURES - {*_USUAL})]


def _show(data: bytes, background: tuple[int, ...]) -> tuple[Image.Image, list[str]]:
    """An image in grey or colour, and what was changed to show it."""
    file = io.BytesIO(data)
    with _open(file) as image:
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format not in _FIRST_IS_THE_PICTURE:
            raise UserError(
                f"{frames} frames or pages in one {image.format} file, must be one picture"
            )
        scale = _find_scale(image)
        if image.format in _JPEG:
            load_whole(image, file, _decode_plainly)
        image.load()
        if image.mode == "I" and image.format != "PPM":  # which has 16 bits at most, as has "I;16"
            raise UserError("levels of 32 bits, or with a sign, must be of 8 or 16 bits")
        changes = [PROFILE] if _has_other_profile(image) else []
        upright, turned = turn_upright(image)
        changes += turned
        if upright.mode in ("L", "RGB") and scale == 1 and not upright.has_transparency_data:
            return upright, changes
        pixels, alpha, more = _to_levels(upright, scale)
    changes += more
    if alpha is not None and (alpha < 255).any():
        changes.append(f"with transparency, shown over {list(background)}")
        pixels = _flatten(pixels, alpha, background)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), changes


def _open(file: io.BytesIO) -> Image.Image:
    """An image of any format; those of most files need no other format's reader imported."""
    try:
        return Image.open(file, formats=_USUAL)
    except UnidentifiedImageError:
        return Image.open(file, formats=_list_formats())


def _decode_plainly(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=_JPEG) as image:
        image.load()
        return image


def _as_array(image: Image.Image) -> NDArray[Any]:
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def _find_scale(image: Image.Image) -> float:
    """What the samples of a file are multiplied by when read; its transparent level is not."""
    tiles = getattr(image, "tile", None)
    packing = str(tiles[0][3]) if tiles else ""
    return 1 / 256 if packing.startswith("RGB;16") else _SCALES.get(packing, 1)


def _to_levels(
    image: Image.Image, scale: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None, list[str]]:
    """Levels of 8 bits [H, W, 1 or 3], how opaque they are [H, W, 1], and what was changed."""
    changes = [SIXTEEN] if scale < 1 or image.mode.startswith("I") else []
    if image.mode.startswith("I"):
        return *_read_sixteen_bits(image), changes
    if image.mode in ("F", "LAB", "HSV"):
        raise UserError(f"pixels of the kind {image.mode!r}, must be levels of 8 or 16 bits")
    if image.mode == "CMYK":
        changes.append(CMYK)
    level = image.info.get("transparency")
    if image.mode in ("L", "RGB") and level is not None and scale != 1:
        levels = [int(one * scale) for one in (level if isinstance(level, tuple) else (level,))]
        image.info["transparency"] = tuple(levels) if image.mode == "RGB" else levels[0]
    if not image.has_transparency_data:
        grey = image.mode in ("1", "L")
        array = _as_array(image.convert("L" if grey else "RGB"))
        return (_merge_grey(array) if image.mode == "P" else array), None, changes
    array = _as_array(image.convert("RGBA"))
    colours, alpha = array[..., :3], array[..., 3:]
    grey = image.mode in ("1", "L", "LA", "La")
    return (colours[..., :1] if grey else _merge_shown(image, colours, alpha)), alpha, changes


def _read_sixteen_bits(image: Image.Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """The upper 8 of 16 bits of a grey image, and how opaque it is."""
    array = np.asarray(image)[..., None]
    level = image.info.get("transparency")
    alpha = None if level is None else np.where(array == level, 0, 255).astype(np.uint8)
    return (array.astype(np.uint16) >> 8).astype(np.uint8), alpha


def _merge_shown(
    image: Image.Image, colours: NDArray[np.uint8], alpha: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """The colours of a palette are grey if all that is seen of them is."""
    if image.mode not in ("P", "PA"):
        return colours
    seen = np.where(alpha > 0, colours, colours[..., :1])  # what is hidden has no colour
    return _merge_grey(seen)


def _merge_grey(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One channel instead of three equal ones."""
    return colours[..., :1] if (colours == colours[..., :1]).all() else colours


def _flatten(
    pixels: NDArray[np.uint8], alpha: NDArray[np.uint8], background: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Pixels over a background; whole numbers, so that every machine rounds alike."""
    if len(set(background)) == 1:
        background = background[: pixels.shape[2]]
    opaque = alpha.astype(np.uint32)
    mixed = pixels * opaque + np.array(background, np.uint32) * (255 - opaque)
    return ((mixed + 127) // 255).astype(np.uint8)


def _has_other_profile(image: Image.Image) -> bool:
    profile = image.info.get("icc_profile")
    if not profile:
        return False
    try:
        named = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return True
    return "sRGB" not in named


def _resize(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    short = min(image.size)
    left, top = (width - short) / 2, (height - short) / 2
    box = (left, top, left + short, top + short)
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box)


def _explain(error: Exception) -> str:
    if isinstance(error, struct.error | IndexError | KeyError | EOFError):
        return "it ends too early, or is broken"
    if isinstance(error, UnidentifiedImageError):
        return "of no known format"  # the error names an address in memory
    return extract_message(error)
