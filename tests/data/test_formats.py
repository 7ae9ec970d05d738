"""What is read of a file's bytes: a data set, or one line that says what is wrong."""

import io
import tarfile
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.idx_files import idx_files
from vae.data.formats import Parsed, parse_cifar10, parse_idx, parse_npy
from vae.errors import UserError


@given(st.binary(max_size=64), st.sampled_from(sorted(idx_files())))
def test_any_bytes_as_an_idx_file_parse_or_are_refused(data: bytes, name: str) -> None:
    """Arbitrary bytes in place of one IDX file give a UserError, never another exception."""
    with pytest.raises(UserError) as raised:
        parse_idx(idx_files() | {name: data})
    assert "\n" not in str(raised.value)


@given(
    st.sampled_from(sorted(idx_files())),
    st.integers(0, 15),
    st.integers(0, 255),
    st.integers(0, 99),
)
def test_a_damaged_idx_header_parses_or_is_refused(
    name: str, place: int, value: int, cut: int
) -> None:
    """One changed header byte and a cut tail give a UserError or a consistent dataset."""
    damaged = bytearray(idx_files()[name])
    damaged[min(place, len(damaged) - 1)] = value
    try:
        parsed = parse_idx(idx_files() | {name: bytes(damaged[: len(damaged) - cut])})
    except UserError:
        return
    consistent(parsed)


def consistent(parsed: Parsed) -> None:
    """Check that a parsed dataset is what the rest relies on."""
    for images, labels in (parsed.train, parsed.test):
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        assert images.ndim == 4
        assert len(images) == len(labels)
        assert set(labels.tolist()) <= set(range(parsed.classes))


def cifar_archive(train: bytes, test: bytes) -> dict[str, bytes]:
    """CIFAR-10's archive with the same records in every training batch."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        batches = {f"data_batch_{number}.bin": train for number in range(1, 6)}
        for name, data in (batches | {"test_batch.bin": test}).items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return {"cifar-10-binary.tar.gz": buffer.getvalue()}


def test_cifar10_records_are_a_label_and_three_planes() -> None:
    """A record is one label byte, then 1024 bytes each of red, green and blue, row by row."""
    record = bytes([7]) + bytes([1]) * 1024 + bytes([2]) * 1024 + bytes([3]) * 31 + bytes(993)
    parsed = parse_cifar10(cifar_archive(record * 2, record))
    consistent(parsed)
    assert parsed.train.images.shape == (10, 3, 32, 32)
    image, label = parsed.test.images[0], parsed.test.labels[0]
    assert label == 7
    assert [int(image[c].astype(int).sum()) for c in range(3)] == [1024, 2048, 93]
    assert image[2, 0].tolist() == [3] * 31 + [0]


@pytest.mark.parametrize(
    "files",
    [
        {"cifar-10-binary.tar.gz": b"no archive"},
        {"cifar-10-binary.tar.gz": cifar_archive(bytes(3073), b"")["cifar-10-binary.tar.gz"][:90]},
        cifar_archive(bytes(3072), bytes(3073)),
        cifar_archive(bytes(3073), bytes([10]) + bytes(3072)),
    ],
)
def test_what_is_not_cifar10_is_refused(files: dict[str, bytes]) -> None:
    """A broken archive, a cut record and an eleventh class are user errors."""
    with pytest.raises(UserError):
        parse_cifar10(files)


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
    ],
)
def test_npy_layouts_of_grey_images_agree(
    layout: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
) -> None:
    """[N, H, W], [N, H, W, 1] and [N, 1, H, W] are the same images."""
    grey = np.random.default_rng(0).integers(0, 256, (14, 5, 6), dtype=np.uint8)
    parsed = parse_npy({"x.npy": npy(layout(grey))})
    expected = parse_npy({"x.npy": npy(grey)})
    consistent(parsed)
    assert parsed.train.images.shape[1:] == (1, 5, 6)
    assert len(parsed.train.images) + len(parsed.test.images) == 14
    assert len(parsed.test.images) >= 2
    np.testing.assert_array_equal(parsed.train.images, expected.train.images)
    np.testing.assert_array_equal(parsed.test.images, expected.test.images)


def test_npy_layouts_of_colour_images_agree() -> None:
    """[N, H, W, 3] and [N, 3, H, W] are the same images."""
    colour = np.random.default_rng(0).integers(0, 256, (14, 3, 5, 6), dtype=np.uint8)
    first = parse_npy({"x.npy": npy(colour)})
    last = parse_npy({"x.npy": npy(colour.transpose(0, 2, 3, 1))})
    np.testing.assert_array_equal(first.train.images, last.train.images)


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.zeros((9, 4, 4), np.float32), "float32"),
        (np.zeros((9, 4), np.uint8), r"\[9, 4\]"),
        (np.zeros((9, 4, 4, 2), np.uint8), "C 1 or 3"),
        (np.zeros((9, 3, 4, 3), np.uint8), "C 1 or 3"),
        (np.zeros((9, 0, 4), np.uint8), r"\[9, 0, 4\]"),
        (np.array(["pickled"] * 9, object), "allow_pickle"),
        (np.zeros((13, 4, 4), np.uint8), "13 images are too few, must be at least 14"),
    ],
)
def test_an_npy_file_that_is_no_set_of_images_is_refused(
    array: NDArray[np.generic], told: str
) -> None:
    """Another type, an ambiguous layout, a pickle or too few images are user errors."""
    with pytest.raises(UserError, match=told):
        parse_npy({"x.npy": npy(array)})


@pytest.mark.parametrize("shape", ["(1" + "0" * 30 + ",)", "(True, 4, 4)", "(-9, 4)", "-" * 9000])
def test_an_impossible_npy_shape_is_refused(shape: str) -> None:
    """A header that numpy itself trips over is a user error."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode()
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with pytest.raises(UserError, match=r"x\.npy: not a \.npy file"):
        parse_npy({"x.npy": data})


@given(st.binary(max_size=100), st.booleans())
def test_any_bytes_as_an_npy_file_are_refused(data: bytes, magic: bool) -> None:
    """Arbitrary bytes, also behind a valid magic, give one line."""
    with pytest.raises(UserError) as raised:
        parse_npy({"x.npy": (b"\x93NUMPY\x01\x00" if magic else b"") + data})
    assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("ignore:Data type alias 'a':DeprecationWarning")  # a damaged '|u1'
@given(st.integers(0, 127), st.characters(max_codepoint=127), st.integers(0, 40))
def test_a_damaged_npy_header_parses_or_is_refused(place: int, value: str, cut: int) -> None:
    """One changed header byte and a cut tail give a UserError or a consistent dataset."""
    damaged = bytearray(npy(np.zeros((9, 4, 4), np.uint8)))
    damaged[place] = ord(value)
    try:
        parsed = parse_npy({"x.npy": bytes(damaged[: len(damaged) - cut])})
    except UserError:
        return
    consistent(parsed)
