"""JPEG files that are cut off, with and without an end marker behind the cut."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vae.data.images import Look, decode
from vae.data.jpeg import read_header
from vae.errors import UserError

END = b"\xff\xd9"
OPTIONS: list[dict[str, Any]] = [
    {"quality": 90},
    {"quality": 50, "subsampling": 0},
    {"quality": 75, "progressive": True},
    {"quality": 80, "restart_marker_blocks": 4},
    {"quality": 95, "optimize": True},
]
SIDES = [(16, 16), (40, 64), (200, 178)]
every_encoding = pytest.mark.parametrize("options", OPTIONS, ids=str)
every_mode = pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])


def draw_photo(sides: tuple[int, int], mode: str, options: dict[str, Any]) -> bytes:
    """A JPEG file of soft blotches with noise over them."""
    rng = np.random.default_rng(0)
    height, width = sides
    blotches = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    noise = rng.integers(0, 30, (height, width, 3))
    pixels = np.clip(np.asarray(blotches) + noise, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@every_mode
@every_encoding
def test_a_cut_file_is_refused_and_a_whole_one_is_not(mode: str, options: dict[str, Any]) -> None:
    """At a tenth, half and nine tenths of its data; also where an end marker hides the cut."""
    for sides in SIDES:
        data = draw_photo(sides, mode, options)
        assert decode(data, Look()).image.shape[1:] == sides
        start = data.find(b"\xff\xda") + 14
        for share in (0.1, 0.5, 0.9):
            cut = data[: start + int((len(data) - start) * share)].rstrip(b"\xff")
            for tail in (b"", END, bytes(len(data) - len(cut))):
                with pytest.raises(UserError, match=r"cut off|truncated"):
                    decode(cut + tail, Look())


@every_mode
@every_encoding
def test_a_few_bytes_that_are_missing_are_enough(mode: str, options: dict[str, Any]) -> None:
    """What may pass is the last coefficients of one block."""
    for sides in SIDES:
        data = draw_photo(sides, mode, options).removesuffix(END)
        for lost in (5, 7, 20):
            with pytest.raises(UserError, match=r"cut off"):
                decode(data[:-lost].rstrip(b"\xff") + END, Look())


@pytest.mark.parametrize("level", [0, 128, 255])
@every_encoding
def test_a_plain_picture_is_no_cut_one(level: int, options: dict[str, Any]) -> None:
    """Not even in the very grey that decoders fill up with."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((200, 178, 3), level, np.uint8)).save(buffer, "JPEG", **options)
    assert decode(buffer.getvalue(), Look()).image.shape == (3, 200, 178)


@given(st.binary(max_size=200), st.integers(0, 600))
def test_any_bytes_behind_a_beginning_are_read_or_refused(data: bytes, kept: int) -> None:
    """The walk over markers ends, with what it found or a UserError."""
    whole = draw_photo((16, 16), "RGB", {})
    try:
        header = read_header(whole[:kept] + data)
    except UserError:
        return
    assert header.end < kept + len(data)
