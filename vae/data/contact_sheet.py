"""A contact sheet: what was understood of a dataset, as one picture for a person to look at."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vae.data.datasets import SHEET, DatasetRef
from vae.data.mapped import read_examples
from vae.store.open import show_location
from vae.store.promises import Store

_IMAGES, _COLUMNS = 64, 8
_SIDE, _GAP, _TEXT = 96, 6, 14  # pixels: of a tile at most, between tiles, of the line below one
_PAPER, _INK = (217, 217, 217), (0, 0, 0)


def write_sheet(ref: DatasetRef, store: Store) -> str:
    """Write the dataset's contact sheet beside it, unless it is there; its path or URI.

    Raises ChecksumError for a dataset that is damaged.
    """
    key = f"{ref.key}/{SHEET}"
    if not store.exists(key):
        images, labels = read_examples(ref, store, "train", _IMAGES)
        store.put(key, draw_sheet(images.numpy(), labels.numpy(), ref.class_names))
    return show_location(f"{store.uri}/{key}")


def draw_sheet(
    images: NDArray[np.uint8], labels: NDArray[np.int64], class_names: tuple[str, ...]
) -> bytes:
    """PNG of the first images, each above its class; without names, its number."""
    images, labels = images[:_IMAGES], labels[:_IMAGES]
    rows = -(-len(images) // _COLUMNS)
    cell = (_SIDE + _GAP, _SIDE + _TEXT + _GAP)
    sheet = Image.new("RGB", (_COLUMNS * cell[0] + _GAP, rows * cell[1] + _GAP), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT - 3)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        left, top = _GAP + number % _COLUMNS * cell[0], _GAP + number // _COLUMNS * cell[1]
        sheet.paste(_draw_tile(image), (left, top))
        text = class_names[label] if class_names else str(label)
        while pen.textlength(text, font) > _SIDE:
            text = f"{text[:-2]}…"
        pen.text((left, top + _SIDE), text, _INK, font)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _draw_tile(image_CHW: NDArray[np.uint8]) -> Image.Image:
    """An image as large as a tile takes it: small ones by a whole factor, to show their pixels."""
    pixels = np.moveaxis(image_CHW, 0, -1)
    tile = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    if max(tile.size) > _SIDE:
        tile.thumbnail((_SIDE, _SIDE))
        return tile
    factor = _SIDE // max(tile.size)
    larger = (tile.width * factor, tile.height * factor)
    return tile.resize(larger, Image.Resampling.NEAREST)
