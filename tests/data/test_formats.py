"""What is read of a file's bytes: a data set, or one line that says what is wrong."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchvision.datasets.mnist import read_image_file, read_label_file

from tests.support.idx_files import idx_files
from vae.data.formats import TRAIN_IMAGES, TRAIN_LABELS, Parsed, parse_cifar10, parse_idx
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


def test_idx_files_are_read_as_torchvision_reads_them(tmp_path: Path) -> None:
    """Images and labels, whose reader of paths is the reference."""
    files = idx_files()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    train = parse_idx(files).train
    expected = read_image_file(str(tmp_path / TRAIN_IMAGES)).numpy()
    np.testing.assert_array_equal(train.images[:][:, 0], expected)
    expected = read_label_file(str(tmp_path / TRAIN_LABELS)).numpy()
    np.testing.assert_array_equal(train.labels, expected)


def consistent(parsed: Parsed) -> None:
    """Check that a parsed dataset is what the rest relies on."""
    for images, labels in (parsed.train, parsed.test):
        assert images[:].dtype == np.uint8
        assert labels.dtype == np.int64
        assert images[:].ndim == 4
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
    image, label = parsed.test.images[:][0], parsed.test.labels[0]
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
