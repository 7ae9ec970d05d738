"""Whether data has changed, by its listing alone."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vae.data.listing import list_data
from vae.errors import UserError
from vae.store.open import open_store


def touch(folder: Path) -> None:
    os.utime(folder / "cats" / "a.png", (1e9, 1e9))


def add(folder: Path) -> None:
    (folder / "cats" / "b.png").write_bytes(b"four")


def rename(folder: Path) -> None:
    (folder / "cats" / "a.png").rename(folder / "a.png")


def grow(folder: Path) -> None:
    stat = (folder / "cats" / "a.png").stat()
    (folder / "cats" / "a.png").write_bytes(b"longer")
    os.utime(folder / "cats" / "a.png", (stat.st_atime, stat.st_mtime))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one image in a class, and what a dataset leaves out."""
    folder = tmp_path / "My Pets"
    (folder / "cats").mkdir(parents=True)
    (folder / "cats" / "a.png").write_bytes(b"abc")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x.png").write_bytes(b"hidden")
    return folder


def test_a_listing_says_where_what_and_how_much(folder: Path, tmp_path: Path) -> None:
    """Its name is its dataset's; hidden files do not count, and looking changes nothing."""
    listing = list_data(str(folder))
    assert (listing.name, listing.files, listing.size_bytes) == ("my-pets", 1, 3)
    assert listing.location == str(folder)
    (folder / ".cache" / "y.png").write_bytes(b"hidden as well")
    assert list_data(str(folder)) == listing


@pytest.mark.parametrize("change", [touch, add, rename, grow])
def test_every_change_of_a_file_shows(folder: Path, change: Callable[[Path], None]) -> None:
    """A file that is added, moved, of another size or written again gives another digest."""
    before = list_data(str(folder)).digest
    change(folder)
    assert list_data(str(folder)).digest != before


def test_a_single_file_has_a_listing(folder: Path) -> None:
    """As a dataset in one .npy file has."""
    file = folder / "pets.npy"
    file.write_bytes(b"12345")
    listing = list_data(str(file))
    assert (listing.name, listing.files, listing.size_bytes) == ("pets", 1, 5)


def test_what_a_link_leads_to_is_data(folder: Path, tmp_path: Path) -> None:
    """A dataset is read through links: what comes behind one is news."""
    (tmp_path / "disk").mkdir()
    (folder / "dogs").symlink_to(tmp_path / "disk")
    before = list_data(str(folder))
    (tmp_path / "disk" / "a.png").write_bytes(b"four")
    after = list_data(str(folder))
    assert (after.files, after.size_bytes) == (before.files + 1, before.size_bytes + 4)
    assert after.digest != before.digest


def test_a_folder_that_can_not_be_listed_is_no_empty_one(folder: Path) -> None:
    """It is named, as where the dataset is read: a loop here, whoever asks."""
    (folder / "cats" / "again").symlink_to(folder)
    with pytest.raises(UserError, match="cats/again: a link to a folder that it lies in"):
        list_data(str(folder))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    """One line with the path."""
    with pytest.raises(UserError, match="nowhere: no such folder or file"):
        list_data(str(tmp_path / "nowhere"))


@pytest.mark.slow
def test_a_prefix_on_s3_is_data_as_well(s3_uri: str) -> None:
    """By sizes and times of the objects below it."""
    store = open_store(s3_uri)
    store.put("cats/a.png", b"abc")
    before = list_data(s3_uri)
    assert (before.location, before.files, before.size_bytes) == (store.uri, 1, 3)
    store.put("cats/b.png", b"four")
    assert list_data(s3_uri).digest != before.digest
