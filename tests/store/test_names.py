"""Which keys and store URIs are accepted, and what they name."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae.errors import UserError
from vae.files import TEMPORARY
from vae.store.open import open_store, show_location
from vae.store.promises import Store, check_key


@pytest.mark.parametrize(
    "key",
    [
        *("", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\\b", "a\0", "a\n", "\ud800"),
        *("a?versionId=1", f"{TEMPORARY}a", f"a/{TEMPORARY}b/c", ".locks/a"),
    ],
)
def test_refused_keys(store: Store, key: str, tmp_path: Path) -> None:
    """No operation takes a key that leaves the store, names nothing or is the store's own."""
    file = tmp_path / "file"
    file.touch()
    operations: list[Callable[[], object]] = [
        lambda: store.read(key),
        lambda: store.read_token(key),
        lambda: store.exists(key),
        lambda: store.put(key, b""),
        lambda: store.create(key, b""),
        lambda: store.replace(key, b"", None),
        lambda: store.download(key, file),
        lambda: store.delete(key),
    ]
    for operation in operations:
        with pytest.raises(ValueError, match="key"):
            operation()


@given(st.text(st.sampled_from("ab./\\\0 ~é-"), max_size=12))
def test_accepted_keys_stay_inside(key: str) -> None:
    """Whatever key is accepted is already normal and lies below the root."""
    try:
        check_key(key)
    except ValueError:
        return
    path = os.path.normpath(f"/a/store/{key}")
    assert path == f"/a/store/{key}"
    assert "\\" not in key


@given(st.lists(st.text("abcé %#?+&=~.-_", min_size=1).filter(lambda t: t.strip(".")), min_size=1))
def test_uri_round_trip(parts: list[str]) -> None:
    """A folder of any name is reached by the store's own URI."""
    store = open_store("/" + "/".join(parts))
    assert store.uri.startswith("file:///")
    assert open_store(store.uri).uri == store.uri


def test_a_location_is_shown_as_people_write_it(tmp_path: Path) -> None:
    """A path that a shell finds, with its spaces; what is on S3 as it is."""
    folder = tmp_path / "My models, 100%"
    assert show_location(f"{open_store(str(folder)).uri}/a.png") == f"{folder}/a.png"
    assert show_location("s3://bucket/my%20models") == "s3://bucket/my%20models"


def test_open_store_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain path, relative or not, and a file URI name the same folder; nothing is created."""
    monkeypatch.chdir(tmp_path)
    uri = f"file://{tmp_path}/store"
    for given_uri in ("store", "./store/", f"{tmp_path}/store", uri, f"{uri}/"):
        assert open_store(given_uri).uri == uri
    assert not (tmp_path / "store").exists()
    assert open_store("s3://bucket/a/b/").uri == "s3://bucket/a/b"
    assert open_store("s3://bucket").uri == "s3://bucket"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "not a path"),
        ("s4://bucket/x", "did you mean 's3'"),
        ("gs://bucket", "s3://bucket/prefix"),
        ("s3:bucket", "s3://bucket/prefix"),
        ("s3:///x", "bucket ''"),
        ("s3://UP/x", "bucket 'UP'"),
        ("s3://bucket/a/../b", "relative"),
        ("s3://bucket//a", "relative"),
        ("file://host/a", "three slashes"),
        ("file:a", "not a path"),
        ("~nobody-of-that-name/store", "no such user"),
        ("file:///a?b", "%3F"),
    ],
)
def test_refused_uris(uri: str, message: str) -> None:
    """A URI that is not one of the three forms is refused in one line."""
    with pytest.raises(UserError, match=r"^store ") as caught:
        open_store(uri)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
