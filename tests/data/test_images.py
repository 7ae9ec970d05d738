"""One image file: what a viewer shows, or one line."""

import io
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from vae.data.images import CMYK, PROFILE, SIXTEEN, Look, decode
from vae.data.orientation import BROKEN_EXIF, UPRIGHT
from vae.errors import UserError

AS_IS = Look()
WHITE = "with transparency, shown over [255, 255, 255]"
GREY = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)
COLOUR = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
FEW = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]]], np.uint8)


def encode(image: NDArray[Any] | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    opened = image if isinstance(image, Image.Image) else Image.fromarray(image)
    opened.save(buffer, kind, **options)
    return buffer.getvalue()


def show(data: bytes, look: Look = AS_IS) -> Any:
    """The decoded pixels [H, W, C], or [H, W] of a grey image."""
    image = np.moveaxis(decode(data, look).image, 0, -1)
    return image[..., 0] if image.shape[2] == 1 else image


def cut_png(data: bytes) -> bytes:
    """A PNG file whose data are cut in half, and which is in order otherwise."""
    start = data.index(b"IDAT")
    length = int.from_bytes(data[start - 4 : start])
    kept = data[start : start + 4 + length // 2]
    half = (length // 2).to_bytes(4) + kept + zlib.crc32(kept).to_bytes(4)
    return data[: start - 4] + half + data[start + 8 + length :]


def quantize(image: NDArray[np.uint8]) -> Image.Image:
    """An image with a palette of its own few colours."""
    return Image.fromarray(image).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "PPM", "TGA", "GIF", "QOI", "PCX"])
def test_every_lossless_format_gives_its_colours(kind: str) -> None:
    """The pixels are those that were saved, whatever the file is called."""
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    saved = quantize(FEW) if kind == "GIF" else FEW
    np.testing.assert_array_equal(show(encode(saved, kind, **options)), FEW)


def test_a_palette_is_the_colours_that_it_shows() -> None:
    """RGB where there is colour, grey where there is none; at every depth, and at every read."""
    for colours, bits in ((2, 1), (4, 2), (16, 4), (64, 8)):
        grey = Image.fromarray(np.resize(GREY.reshape(-1)[:colours], (8, 8))).convert("P")
        grey.putpalette([level for level in range(256) for _ in range(3)])
        pixels = np.asarray(grey.convert("L"))
        assert {show(encode(grey, bits=8)).tobytes() for _ in range(3)} == {pixels.tobytes()}
        colour = COLOUR.reshape(-1, 3)[np.arange(64) % colours].reshape(8, 8, 3)
        paletted = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) % colours, "L")
        paletted = Image.frombytes("P", (8, 8), paletted.tobytes())
        paletted.putpalette(COLOUR.reshape(-1)[: 3 * colours].tolist())
        data = encode(paletted, bits=bits)
        np.testing.assert_array_equal(show(data), colour)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_below_8_bits_spans_black_to_white(bits: int) -> None:
    """Levels are those of 0 to 255."""
    top = 2**bits - 1
    levels = (np.arange(64).reshape(8, 8) % (top + 1)).astype(np.uint8)
    if bits == 1:
        data = encode(Image.fromarray(levels * 255).convert("1"))
    else:
        data = encode(levels, bits=bits)
    np.testing.assert_array_equal(show(data), levels * (255 // top))


def test_16_bits_are_their_upper_8() -> None:
    """Of grey, as PNG, TIFF and PPM have it."""
    wide = GREY.astype(np.uint16) * 257 + 3
    for kind in ("PNG", "TIFF", "PPM"):
        decoded = decode(encode(wide, kind), AS_IS)
        np.testing.assert_array_equal(decoded.image[0], wide >> 8)
        assert decoded.changes == (SIXTEEN,)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_exif_turns_an_image_upright(kind: str, orientation: int) -> None:
    """Stored turned, with the tag that says how: what comes out is what was meant."""
    meant = np.zeros((16, 32), np.uint8)
    meant[:8, :16] = 255
    stored: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
        1: lambda image: image,
        2: np.fliplr,
        3: lambda image: np.rot90(image, 2),
        4: np.flipud,
        5: lambda image: image.T,
        6: lambda image: np.rot90(image, 1),
        7: lambda image: np.rot90(image, 2).T,
        8: lambda image: np.rot90(image, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = np.ascontiguousarray(stored[orientation](meant))
    decoded = decode(encode(turned, kind, exif=exif), Look(colours=1))
    assert decoded.image.shape == (1, 16, 32)
    assert np.abs(decoded.image[0].astype(int) - meant).max() < 8
    assert (UPRIGHT in decoded.changes) == (orientation > 1 and kind != "TIFF")


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_transparency_is_shown_over_the_background(mode: str) -> None:
    """A pixel is its colour and the background's in the shares that its opacity says."""
    alpha = np.array([[0, 255], [51, 204]], np.uint8)
    pixels = np.full((2, 2), 100, np.uint8)
    image = Image.merge("LA", [Image.fromarray(pixels), Image.fromarray(alpha)]).convert(
        "RGBA" if mode == "RGBA" else "LA"
    )
    data = encode(image) if mode != "PA" else encode(image.convert("RGBA").quantize(4))
    decoded = decode(data, Look(colours=1))
    assert decoded.image[0].tolist() == [[255, 100], [224, 131]]
    assert WHITE in decoded.changes
    red = show(data, Look(background=(255, 0, 0)))
    assert red.reshape(-1).tolist() == [255, 0, 0, 100, 100, 100, 224, 20, 20, 131, 80, 80]


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        (np.array([[0, 80]], np.uint8), {"transparency": 0}, [[255, 80]]),
        (np.array([[0, 3]], np.uint8), {"transparency": 3, "bits": 2}, [[0, 255]]),
        (np.array([[0, 15]], np.uint8), {"transparency": 15, "bits": 4}, [[0, 255]]),
        (np.array([[2, 15]], np.uint8), {"transparency": 2, "bits": 4}, [[255, 255]]),
        (np.array([[512, 770]], np.uint16), {"transparency": 770}, [[2, 255]]),
        (
            np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8),
            {"transparency": (1, 2, 3)},
            [[255, 255, 255, 4, 5, 6]],
        ),
    ],
)
def test_one_transparent_level_is_found_at_any_depth(
    image: NDArray[Any], options: dict[str, Any], expected: list[list[int]]
) -> None:
    """What a PNG file names as transparent is a level as stored, whatever it is scaled to."""
    shown = show(encode(image, **options))
    assert shown.reshape(-1).tolist() == np.ravel(expected).tolist()


def test_what_is_wholly_opaque_is_left_alone() -> None:
    """An alpha channel that hides nothing changes nothing, and is not told."""
    decoded = decode(encode(np.dstack([COLOUR, np.full((8, 8), 255, np.uint8)])), AS_IS)
    np.testing.assert_array_equal(np.moveaxis(decoded.image, 0, -1), COLOUR)
    assert decoded.changes == ()


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_converted(kind: str) -> None:
    """Ink is the opposite of light: no ink is white, and all of black is black."""
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[:, 8:, 3] = 255
    decoded = decode(encode(Image.fromarray(ink, "CMYK"), kind), AS_IS)
    assert decoded.image[:, 4, 2].min() > 250
    assert decoded.image[:, 4, 13].max() < 5
    assert decoded.changes == (CMYK,)


def test_a_colour_profile_is_left_alone_and_told() -> None:
    """The pixels are those of the file; sRGB, which nearly every photograph has, is not told."""
    for made, told in (
        (ImageCms.createProfile("sRGB"), ()),
        (ImageCms.createProfile("XYZ"), (PROFILE,)),
    ):
        profile = ImageCms.ImageCmsProfile(made).tobytes()
        decoded = decode(encode(COLOUR, icc_profile=profile), AS_IS)
        np.testing.assert_array_equal(np.moveaxis(decoded.image, 0, -1), COLOUR)
        assert decoded.changes == told


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_a_broken_exif_block_is_passed_over(kind: str) -> None:
    """The pixels are whole: viewers show them as they lie."""
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {"dpi": (72, 72)}
    decoded = decode(encode(COLOUR, kind, exif=b"Exif\0\0no such header", **options), AS_IS)
    np.testing.assert_array_equal(decoded.image, decode(encode(COLOUR, kind, **options), AS_IS)[0])
    assert decoded.changes == (BROKEN_EXIF,)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_more_than_one_picture_is_refused(kind: str) -> None:
    """Animations, and files of several pages, whatever their suffix says."""
    frames = [Image.fromarray(np.roll(COLOUR, shift, 0)) for shift in range(3)]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match=f"3 frames or pages in one {kind} file"):
        decode(data, AS_IS)


def test_previews_in_a_photograph_are_no_second_picture() -> None:
    """A camera's file of several JPEG images shows the first."""
    photo = Image.fromarray(COLOUR)
    data = encode(photo, "MPO", save_all=True, append_images=[photo])
    np.testing.assert_array_equal(show(data), show(encode(COLOUR, "JPEG")))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "an empty file"),
        (b"\x89PNG but not really", "not an image: of no known format"),
        (encode(COLOUR)[:-60], "not an image"),
        (cut_png(encode(COLOUR)), "not an image"),
        (encode(GREY.astype(np.float32), "TIFF"), "pixels of the kind 'F'"),
        (encode(np.full((4, 4), 70_000, np.int32), "TIFF"), "levels of 32 bits"),
        (encode(np.full((4, 4), 200, np.int32), "TIFF"), "levels of 32 bits"),
    ],
)
def test_what_is_no_image_of_levels_is_refused(data: bytes, told: str) -> None:
    """Broken files, and numbers that are no levels of 8 or 16 bits."""
    with pytest.raises(UserError, match=told):
        decode(data, AS_IS)


@pytest.mark.filterwarnings("ignore")  # of Pillow, about what is beside the pixels
@given(
    kind=st.sampled_from(["PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG", "TGA"]),
    place=st.integers(0, 10_000),
    byte=st.integers(0, 255),
    cut=st.integers(0, 60),
)
def test_a_damaged_file_is_an_image_or_one_line(kind: str, place: int, byte: int, cut: int) -> None:
    """One byte changed and an end cut off give pixels or a UserError, nothing else."""
    damaged = bytearray(encode(COLOUR, kind))
    damaged[place % len(damaged)] = byte
    try:
        image = decode(bytes(damaged[: len(damaged) - cut]), AS_IS).image
    except UserError:
        return
    assert image.dtype == np.uint8
    assert len(image) in (1, 3)


@given(
    sides=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.integers(1, 24),
    colours=st.sampled_from([0, 1, 3]),
)
def test_any_image_is_brought_to_the_size_and_colours(
    sides: tuple[int, int], size: int, colours: int
) -> None:
    """Whatever its sides, the result is a square of that size, of the same plain colour."""
    plain = np.full((*sides, 3), (200, 100, 50), np.uint8)
    image = decode(encode(plain), Look(size, colours)).image
    assert image.shape == (colours or 3, size, size)
    assert set(image.reshape(len(image), -1).T.reshape(-1).tolist()) == (
        {124} if colours == 1 else {200, 100, 50}
    )


def test_the_centre_is_kept_and_averaged() -> None:
    """Stripes of one pixel become their mean instead of one of them; the sides are cropped."""
    wide = np.zeros((64, 192), np.uint8)
    wide[:, :64] = wide[:, 128:] = 255
    wide[:, 64:128:2] = 120
    wide[:, 65:128:2] = 80
    decoded = decode(encode(wide), Look(size=8))
    assert np.abs(decoded.image[0, :, 2:-2].astype(int) - 100).max() <= 2
    assert decoded.changes == ("reduced and cropped to 8×8",)


ENCODINGS: dict[str, tuple[bytes, int]] = {
    "grey": (encode(GREY), 0),
    "grey of 1 bit": (encode(Image.fromarray(GREY).convert("1")), 0),
    "grey of 2 bits": (encode(GREY // 64, bits=2), 0),
    "grey of 4 bits": (encode(GREY // 16, bits=4), 0),
    "colour": (encode(COLOUR), 0),
    "colour, interlaced": (encode(COLOUR, interlace=True), 0),
    "palette": (encode(quantize(FEW)), 0),
    "GIF": (encode(quantize(FEW), "GIF"), 0),
    "WebP": (encode(COLOUR, "WEBP", lossless=True), 0),
    "lossy WebP": (encode(COLOUR, "WEBP", quality=80), 2),
    "JPEG": (encode(COLOUR, "JPEG"), 2),
    "grey JPEG": (encode(GREY, "JPEG"), 2),
    "progressive JPEG": (encode(COLOUR, "JPEG", progressive=True), 2),
    "JPEG with all of its colour": (encode(COLOUR, "JPEG", subsampling=0), 2),
    "JPEG with restart markers": (encode(COLOUR, "JPEG", restart_marker_blocks=1), 2),
}


@pytest.mark.filterwarnings(
    "ignore:The image decoding and encoding capabilities of TorchVision:DeprecationWarning"
)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_another_decoder_shows_the_same(encoding: str) -> None:
    """torchvision's decoders agree: to the level without loss, within rounding with it."""
    from torchvision.io import ImageReadMode, decode_image

    data, tolerance = ENCODINGS[encoding]
    other = decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
    mine = decode(data, Look(colours=3)).image.astype(int)
    assert np.abs(mine - other.numpy()).max() <= tolerance
