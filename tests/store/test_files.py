"""Files and folders on their way into a store and out of it."""

import os
from pathlib import Path

import pytest

from vae.files import TEMPORARY
from vae.store.open import open_store
from vae.store.promises import Store


def test_put_and_download(store: Store, tmp_path: Path) -> None:
    """An object of several parts arrives whole, makes its folders, leaves nothing beside it."""
    copy = tmp_path / "new" / "copy"
    parts_mib = 101 if store.uri.startswith("s3") else 3  # s3fs sends parts from 100 MiB on
    data = os.urandom(1 << 20) * parts_mib
    store.put("big", data)
    store.download("big", copy)
    assert copy.read_bytes() == data
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]
    assert store.list() == ["big"]


def test_what_a_file_lacks_is_appended(store: Store, tmp_path: Path) -> None:
    """Its own bytes are taken for the object's; nothing is added to one that is as long."""
    part = tmp_path / "part"
    store.put("a", b"0123456789")
    for begun, whole in ((b"", b"0123456789"), (b"abc", b"abc3456789"), (b"z" * 11, b"z" * 11)):
        part.write_bytes(begun)
        for _ in range(2):
            store.download_rest("a", part)
            assert part.read_bytes() == whole
    with pytest.raises(FileNotFoundError):
        store.download_rest("none", part)


def test_failed_download(store: Store, tmp_path: Path) -> None:
    """A missing object fails by name and leaves the destination as it was."""
    (tmp_path / "kept").write_bytes(b"old")
    with pytest.raises(FileNotFoundError):
        store.download("none", tmp_path / "kept")
    assert (tmp_path / "kept").read_bytes() == b"old"
    assert not list(tmp_path.glob(f"{TEMPORARY}*"))
    assert store.list() == []


def test_an_object_is_no_folder(tmp_path: Path) -> None:
    """A key below an object is refused, and not as one that exists."""
    store = open_store(str(tmp_path))
    store.put("a", b"x")
    for write in (store.put, store.create):
        with pytest.raises(NotADirectoryError):
            write("a/b", b"y")
