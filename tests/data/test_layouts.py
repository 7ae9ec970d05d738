"""Names of files to classes and splits, and tables of them."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae.data.layouts import Item, arrange
from vae.data.places import LocalFolder, leave_hidden_out, match, parse_target
from vae.data.tables import Row, read_table
from vae.errors import UserError


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["1.png", "2.png"], [("", ""), ("", "")]),
        (["v/1.png", "h/2.png"], [("h", ""), ("v", "")]),
        (["v/a/1.png", "v/b/2.png", "h/3.png"], [("h", ""), ("v", ""), ("v", "")]),
        (["images/v/1.png", "images/h/2.png"], [("h", ""), ("v", "")]),
        (["1.png", "v/2.png"], [("", ""), ("v", "")]),
        (["v/1.png", "v/2.png"], [("v", ""), ("v", "")]),
        (["train/v/1.png", "test/v/2.png"], [("v", "test"), ("v", "train")]),
        (["Train/1.png", "VALID/2.png"], [("", "train"), ("", "val")]),
        (["data/train/x/v/1.png", "data/test/x/h/2.png"], [("h", "test"), ("v", "train")]),
        (["v/train/1.png", "h/test/2.png"], [("h", "test"), ("v", "train")]),
        (["train/1.png", "bus/2.png"], [("bus", ""), ("train", "")]),
        (["train/1.png", "test/2.png", "0.png"], [("", "test"), ("", "train")]),
    ],
)
def test_folders_are_classes_or_splits(names: list[str], expected: list[tuple[str, str]]) -> None:
    """Folders around everything mean nothing; train beside val or test is a split, not a class."""
    assert [(item.label, item.split) for item in arrange(names)] == expected


def test_splits_without_one_to_train_on_are_refused() -> None:
    """A val and a test folder alone are no classes."""
    with pytest.raises(UserError, match="none for train"):
        arrange(["val/1.png", "test/2.png"])


parts = st.sampled_from(["a", "b", "train", "test", "val", "images", "é\n"])


@given(st.sets(st.lists(parts, min_size=1, max_size=4).map("/".join), max_size=12))
def test_any_names_are_arranged_in_order(names: set[str]) -> None:
    """No image comes twice, and none is lost but those outside of splits that are given."""
    try:
        items = arrange(names)
    except UserError:
        return
    where = [item.where for item in items]
    assert where == sorted(where)
    assert set(where) <= names
    assert set(where) == names or all(item.split for item in items)
    assert all(isinstance(item, Item) for item in items)


@pytest.mark.parametrize(
    ("name", "folder", "file", "pattern"),
    [
        ("s3://bucket/pets/*.jpg", "s3://bucket/pets", "", "*.jpg"),
        ("s3://bucket/*/x/**", "s3://bucket", "", "*/x/**"),
        ("s3://bucket/pets/", "s3://bucket/pets/", "", ""),
        ("/a/b/set.NPY", "/a/b", "set.NPY", ""),
        ("/a/pets*/c.csv", "/a", "", "pets*/c.csv"),
        ("/a/b", "/a/b", "", ""),
    ],
)
def test_a_name_is_a_folder_a_file_or_a_pattern(
    name: str, folder: str, file: str, pattern: str
) -> None:
    """The folder of a pattern ends before its first part with a sign of its own."""
    assert parse_target(name) == (folder, file, pattern)


def test_what_is_hidden_is_counted_alike_wherever_it_lies(tmp_path: Path) -> None:
    """A hidden folder is one thing that is left out, on a disk as where only files have names."""
    names = [".git/a", ".git/b/c", "x/.cache/d", "x/.cache/e", "x/.f", "x/y.png", "z.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = LocalFolder(tmp_path).list()
    assert found == leave_hidden_out(names) == (("x/y.png", "z.png"), Counter({"hidden": 3}))


def test_patterns_stay_in_a_folder() -> None:
    """One star is any name, two are any folders."""
    files = ["1.jpg", "a/2.jpg", "a/b/3.jpg", "a/4.png"]
    assert match(files, "*.jpg") == ("1.jpg",)
    assert match(files, "*/*.jpg") == ("a/2.jpg",)
    assert match(files, "**/*.jpg") == ("1.jpg", "a/2.jpg", "a/b/3.jpg")


@pytest.mark.parametrize(
    "text",
    [
        "a.png,cat\nb.png,dog\n",
        "\ufefflabel;path\r\ncat;a.png\r\ndog;b.png\r\n",
        "id\tFilename\tx\tClass\n1\ta.png\t\tcat\n\n2\tb.png\t\tdog",
    ],
)
def test_tables_are_read_by_their_heading_or_their_order(text: str) -> None:
    """Whatever separates the cells, ends the lines or stands before them."""
    assert read_table(text.encode(), "x.csv") == [Row("a.png", "cat", ""), Row("b.png", "dog", "")]


def test_a_table_names_splits_as_folders_do() -> None:
    """In any case, by any of their names."""
    rows = read_table(b"a.png,,Valid\nb.png,,testing\nc.png,,train\nd.png,,", "x.csv")
    assert [row.split for row in rows] == ["val", "test", "train", ""]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no rows"),
        ("label,split\ncat,train\n", "no column of paths among label, split"),
        ("path,split\na.png,trian\n", "row 2: split 'trian', must be one of train, training"),
        ("path,label\n,cat\n", "row 2: no path"),
        ('path\n"a', "not a table"),
    ],
)
def test_what_is_no_table_is_refused(text: str, told: str) -> None:
    """With the row, and what is allowed."""
    with pytest.raises(UserError, match=told):
        read_table(text.encode(), "x.csv")


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_table_or_one_line(data: bytes) -> None:
    """Rows with a path each, or a UserError."""
    try:
        rows = read_table(data, "x.csv")
    except UserError:
        return
    assert all(row.path for row in rows)
