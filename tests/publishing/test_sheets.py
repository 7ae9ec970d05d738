"""Sheets: where the cells lie, and how many bytes they may take."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vae.publishing.sheets import Sheet, encode_within, lay_out, to_png


def noise(n: int, colours: int = 3, side: int = 8) -> Tensor:
    return torch.rand(n, colours, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("colours", [1, 3])
def test_each_image_is_in_its_cell(colours: int) -> None:
    """Row by row, a pixel for each of its own, with a line to the right and below."""
    tiles = noise(5, colours)
    sheet = lay_out(tiles, 3)
    assert (sheet.columns, sheet.rows) == (3, 2)
    assert sheet.picture.size == (27, 18)
    pixels = np.asarray(sheet.picture).reshape(18, 27, colours)
    cell = pixels[9:17, 9:17].transpose(2, 0, 1)
    assert (cell == tiles[4].mul(255).round().byte().numpy()).all()
    assert (pixels[8] == 217).all() and (pixels[:, 8] == 217).all()


def test_large_images_become_smaller_by_their_means() -> None:
    """A pixel of half the size is the mean of four; the shape is kept."""
    tiles = noise(1, 1, 128)[..., :64]
    small = np.asarray(lay_out(tiles, 1).picture)[:64, :32] / 255
    means = tiles.view(64, 2, 32, 2).mean((1, 3)).numpy()
    np.testing.assert_allclose(small, means, atol=0.5 / 255 + 1e-6)


def test_a_png_holds_every_pixel_and_is_the_same_twice() -> None:
    """What is kept of an epoch is what was drawn."""
    sheet = lay_out(noise(4), 2)
    decoded = Image.open(io.BytesIO(to_png(sheet)))
    assert (np.asarray(decoded) == np.asarray(sheet.picture)).all()
    assert to_png(sheet) == to_png(lay_out(noise(4), 2))


def test_sheets_stay_within_their_bytes() -> None:
    """Nothing is lost while there is room, then quality; what can't be held is an error."""
    sheets = {"a": lay_out(noise(16, 3, 32), 4), "b": lay_out(noise(16, 3, 32), 4)}
    whole = encode_within(sheets, 10**6)
    assert (open_sheet(whole["a"]) == np.asarray(sheets["a"].picture)).all()
    half = sum(map(len, whole.values())) // 2
    assert sum(map(len, encode_within(sheets, half).values())) <= half
    with pytest.raises(ValueError, match="2 sheets take more than 100 bytes"):
        encode_within(sheets, 100)
    assert encode_within(dict[str, Sheet](), 0) == {}


def open_sheet(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(data)))
