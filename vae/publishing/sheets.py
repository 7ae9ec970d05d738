"""Sheets: small images side by side in one picture, a pixel of theirs for each of its own.

A sheet is cut into cells of one size, each an image with a line to its right and below it.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

MAX_SIDE = 64  # pixels: larger images are made smaller, so that a page of them stays one
PAPER = 0.85  # light grey: visible beside black and white images, in dark and light pages
QUALITIES = (None, 85, 60, 30, 5)  # of WebP, the best first; None loses nothing


@dataclass(frozen=True)
class Sheet:
    """A picture of equal cells, row by row."""

    picture: Image.Image
    columns: int
    rows: int


def lay_out(tiles_NCHW: Tensor, columns: int, side: int = MAX_SIDE) -> Sheet:
    """The sheet of images in [0, 1], row by row; the rest of a short last row is paper."""
    small = shrink(tiles_NCHW.detach().float().cpu(), side)
    count, colours, height, width = small.shape
    rows = -(-count // columns)
    cells = torch.full((rows * columns, colours, height + 1, width + 1), PAPER)
    cells[:count, :, :height, :width] = small
    grid = cells.view(rows, columns, *cells.shape[1:]).permute(0, 3, 1, 4, 2).flatten(2, 3)
    pixels_HWC = grid.flatten(0, 1).clamp(0, 1).mul(255).round().byte().numpy()
    flat = pixels_HWC[..., 0] if colours == 1 else pixels_HWC
    return Sheet(Image.fromarray(flat), columns, rows)


def shrink(tiles_NCHW: Tensor, side: int) -> Tensor:
    """The images with no side longer than this, each new pixel the mean of those it covers."""
    longest = max(tiles_NCHW.shape[-2:])
    if longest <= side:
        return tiles_NCHW
    size = tuple(max(1, round(length * side / longest)) for length in tiles_NCHW.shape[-2:])
    return interpolate(tiles_NCHW, size=size, mode="area")


def to_png(sheet: Sheet) -> bytes:
    """The sheet as a PNG, the same bytes for the same sheet."""
    buffer = io.BytesIO()
    sheet.picture.save(buffer, "PNG")
    return buffer.getvalue()


def encode_within(sheets: Mapping[str, Sheet], limit_bytes: int) -> dict[str, bytes]:
    """All sheets as WebP of one quality, by name: the best with which their sum is in the limit.

    Raises ValueError where even the worst is not.
    """
    for quality in QUALITIES:
        encoded, room = dict[str, bytes](), limit_bytes
        for name, sheet in sheets.items():
            encoded[name] = to_webp(sheet, quality)
            room -= len(encoded[name])
            if room < 0:
                break
        else:
            return encoded
    raise ValueError(f"{len(sheets)} sheets take more than {limit_bytes:,} bytes")


def to_webp(sheet: Sheet, quality: int | None) -> bytes:
    """The sheet as WebP of a quality from 0 to 100; None loses nothing."""
    buffer = io.BytesIO()
    if quality is None:
        sheet.picture.save(buffer, "WEBP", lossless=True, quality=50, method=2)
    else:
        sheet.picture.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()
