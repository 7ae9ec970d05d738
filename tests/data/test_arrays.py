"""Arrays in .npy files: read by rule and told, or refused saying what is taken."""

import io
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vae.data.arrays import fit_images, open_images, read_labels
from vae.data.images import Look
from vae.errors import UserError


def read_images(data: bytes, where: str) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """All images of a .npy file with these bytes, and what was changed."""
    with NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        images, changes = open_images(Path(file.name), where)
        assert images.shape == images[:].shape
        assert len(images) == len(images[:])
        return images[:], changes


def npy(array: NDArray[np.generic]) -> bytes:
    """The bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "layout",
    [
        lambda grey: grey,
        lambda grey: grey[..., None],
        lambda grey: grey[:, None],
        lambda grey: np.asfortranarray(grey),
        lambda grey: grey.astype(">i8"),
        lambda grey: grey.astype(np.float32),
    ],
)
def test_layouts_and_types_of_grey_images_agree(
    layout: Callable[[NDArray[np.uint8]], NDArray[np.generic]],
) -> None:
    """[N, H, W], [N, H, W, 1], [N, 1, H, W] and any whole numbers are the same images."""
    grey = np.random.default_rng(0).integers(0, 256, (14, 5, 6), dtype=np.uint8)
    images, _ = read_images(npy(layout(grey)), "x.npy")
    np.testing.assert_array_equal(images, grey[:, None])
    assert images.dtype == np.uint8


def test_layouts_of_colour_images_agree() -> None:
    """[N, H, W, 3] and [N, 3, H, W] are the same images."""
    colour = np.random.default_rng(0).integers(0, 256, (14, 3, 5, 6), dtype=np.uint8)
    for layout in (colour, colour.transpose(0, 2, 3, 1)):
        images, changes = read_images(npy(layout), "x.npy")
        np.testing.assert_array_equal(images, colour)
        assert changes == ()


@pytest.mark.parametrize(
    ("values", "levels", "told"),
    [
        (np.array([0, 1, 1, 0], np.uint8), [0, 255, 255, 0], "0 and 1 scaled to 0 and 255"),
        (np.array([0, 1, 0, 1], np.int64), [0, 255, 0, 255], "0 and 1 scaled to 0 and 255"),
        (np.array([0, 1, 0, 1], bool), [0, 255, 0, 255], "false and true shown as 0 and 255"),
        (np.array([0, 0.5, 0.002, 1]), [0, 128, 1, 255], "levels from 0 to 1 scaled"),
        (np.array([0, 2, 255, 1], np.float32), [0, 2, 255, 1], "float32 taken as levels"),
        (np.array([0, 2, 255, 1], np.uint16), [0, 2, 255, 1], "uint16 taken as levels"),
    ],
)
def test_other_numbers_become_levels_by_rule(
    values: NDArray[np.generic], levels: list[int], told: str
) -> None:
    """Truth values and shares of 1 are scaled, whole numbers are taken, and either is told."""
    images, changes = read_images(npy(values.reshape(1, 2, 2)), "x.npy")
    assert images.reshape(-1).tolist() == levels
    assert changes[0].startswith(told)


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.full((9, 4, 4), -1.0), "from -1.0 to -1.0, must be shares from 0 to 1"),
        (np.full((9, 4, 4), np.nan), "from nan to nan"),
        (np.full((9, 4, 4), 2.5), "from 2.5 to 2.5"),
        (np.full((9, 4, 4), 256), "from 256 to 256"),
        (np.zeros((9, 4, 4), complex), "complex128"),
        (np.zeros((9, 4), np.uint8), r"\[9, 4\]"),
        (np.zeros((64, 48, 3), np.uint8), "is one picture"),
        (np.zeros((32, 32, 3, 60), np.uint8), "C 1 or 3"),
        (np.zeros((9, 4, 4, 2), np.uint8), "C 1 or 3"),
        (np.zeros((9, 3, 4, 3), np.uint8), "C 1 or 3"),
        (np.zeros((9, 0, 4), np.uint8), r"\[9, 0, 4\]"),
        (np.array(["pickled"] * 9, object), "Python objects"),
    ],
)
def test_what_is_no_set_of_images_is_refused(array: NDArray[np.generic], told: str) -> None:
    """Another range, an ambiguous layout, one photo or a pickle is a user error, in one line."""
    with pytest.raises(UserError, match=told) as raised:
        read_images(npy(array), "x.npy")
    assert "\n" not in str(raised.value)


def test_labels_are_numbers_or_text(tmp_path: Path) -> None:
    """A column is a row; numbers keep their order as names; another length is refused."""
    path = tmp_path / "y.npy"
    for values, names in (([[10], [2]], ["10", "02"]), (["cat", "dog"], ["cat", "dog"])):
        np.save(path, np.array(values))
        assert read_labels(path, "y.npy", 2) == names
    for wrong in (np.zeros(2), np.zeros(3, int)):
        np.save(path, wrong)
        with pytest.raises(UserError, match="must be a whole number or text for each of 2 images"):
            read_labels(path, "y.npy", 2)


def test_images_are_brought_to_a_look() -> None:
    """Size and colours of arrays follow the settings; without any, the array is the same one."""
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)
    same, nothing = fit_images(images, Look())
    assert same is images
    assert nothing == ()
    fitted, changes = fit_images(images, Look(size=4, colours=3))
    assert fitted.shape == (3, 3, 4, 4)
    assert changes == ("all grey, taken as colour", "all reduced to 4×4")


@pytest.mark.parametrize("shape", ["(1" + "0" * 30 + ",)", "(True, 4, 4)", "(-9, 4)", "-" * 9000])
def test_an_impossible_npy_shape_is_refused(shape: str) -> None:
    """A header that numpy itself trips over is a user error."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode()
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with pytest.raises(UserError, match=r"x\.npy: not a \.npy file"):
        read_images(data, "x.npy")


@given(st.binary(max_size=100), st.booleans())
def test_any_bytes_as_an_npy_file_are_refused(data: bytes, magic: bool) -> None:
    """Arbitrary bytes, also behind a valid magic, give one line."""
    with pytest.raises(UserError) as raised:
        read_images((b"\x93NUMPY\x01\x00" if magic else b"") + data, "x.npy")
    assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("ignore:Data type alias 'a':DeprecationWarning")  # a damaged '|u1'
@given(st.integers(0, 127), st.characters(max_codepoint=127), st.integers(0, 40))
def test_a_damaged_npy_header_parses_or_is_refused(place: int, value: str, cut: int) -> None:
    """One changed header byte and a cut tail give a UserError or a consistent dataset."""
    damaged = bytearray(npy(np.zeros((9, 4, 4), np.uint8)))
    damaged[place] = ord(value)
    try:
        images, _ = read_images(bytes(damaged[: len(damaged) - cut]), "x.npy")
    except UserError:
        return
    assert images.dtype == np.uint8
    assert images.ndim == 4
    assert images.shape[1] in (1, 3)
