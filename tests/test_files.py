"""Files on a disk: a reader sees the old one or the new one."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae.files import PLAIN_NAME, hash_bytes, hash_file, reserve_beside, write_whole


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    """The file is there under its name alone, new bytes in place of old."""
    path = tmp_path / "samples.png"
    for data in (b"old", b"new"):
        write_whole(path, data)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(path.name, b"new")]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """A name that is a folder's, or in none, is an error; no temporary file stays behind."""
    (tmp_path / "samples.png").mkdir()
    for path in (tmp_path / "samples.png", tmp_path / "none" / "samples.png"):
        with pytest.raises(OSError, match="directory"):
            write_whole(path, b"png")
    assert [file.name for file in tmp_path.iterdir()] == ["samples.png"]


def test_what_is_left_at_a_reserved_path_goes(tmp_path: Path) -> None:
    """An error on the way to the rename leaves no file behind, and is not hidden."""
    with pytest.raises(ZeroDivisionError), reserve_beside(tmp_path / "a") as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@given(st.binary(max_size=100))
def test_bytes_and_files_have_one_digest(data: bytes) -> None:
    """SHA-256, in hexadecimal."""
    assert hash_bytes(data) == hash_bytes(memoryview(data)) == hashlib.sha256(data).hexdigest()


def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    """Also one that is larger than what is read at once."""
    data = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(data)
    assert hash_file(tmp_path / "a") == hash_bytes(data)


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "a/b", "a\nb", "a b", "é", "a" * 101])
def test_names_that_are_not_plain(name: str) -> None:
    """What could leave a folder, be hidden, or mean another thing elsewhere."""
    assert not PLAIN_NAME.fullmatch(name)
