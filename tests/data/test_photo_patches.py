"""Photo patches: cut as told, and never from one photograph into two splits."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vae.data.photo_patches import PHOTOGRAPHS, cut_patches, parse_photographs
from vae.errors import UserError


def draw_photograph(height: int, width: int, seed: int = 0) -> tuple[NDArray[np.uint8], bytes]:
    """Levels [3, H, W] at random, and their PNG."""
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG")
    return levels.transpose(2, 0, 1), file.getvalue()


def test_patches_are_means_of_sixteen_pixels() -> None:
    """Row by row, rounded to the nearest level; a rest at the right and below is left out."""
    levels, photograph = draw_photograph(2 * 128 + 127, 3 * 128 + 3)
    patches = cut_patches("a.jpg", photograph)
    assert patches.shape == (6, 3, 32, 32)
    for number, patch in enumerate(patches):
        top, left = 128 * (number // 3), 128 * (number % 3)
        whole = levels[:, top : top + 128, left : left + 128].astype(float)
        means = whole.reshape(3, 32, 4, 32, 4).mean((2, 4))
        assert np.abs(patch - means).max() <= 0.5


def test_a_photograph_lies_in_one_split() -> None:
    """Six in the test, three in validation, the rest in training, each with all its patches."""
    files = {
        name: draw_photograph(128, 128 * (1 + number % 3), number)[1]
        for number, name in enumerate(PHOTOGRAPHS)
    }
    parsed = parse_photographs(files)
    assert parsed.val is not None
    counts = [len(split.labels) for split in (parsed.test, parsed.val, parsed.train)]
    widths = [1 + number % 3 for number in range(len(PHOTOGRAPHS))]
    assert counts == [sum(widths[:6]), sum(widths[6:9]), sum(widths[9:])]
    first = cut_patches("first", files[next(iter(PHOTOGRAPHS))])
    assert np.array_equal(np.asarray(parsed.test.images)[:1], first)


def test_a_broken_photograph_is_named() -> None:
    """What can't be decoded is refused by its name."""
    with pytest.raises(UserError, match=r"^a\.jpg: not an image"):
        cut_patches("a.jpg", b"no picture")
