"""Records of a run: what was written comes back, and nothing else is taken for it."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae.runs.records import DamagedRecordError, create_record, read_record
from vae.store.open import open_store
from vae.store.promises import Store

CONTENT = {"history": [{"epoch": 1, "val/loss": 133.25}], "best_epoch": 1, "name": "é"}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def damage(store: Store, data: bytes) -> str:
    """The one line in which a record with these bytes is refused."""
    store.put("a.json", data)
    with pytest.raises(DamagedRecordError) as raised:
        read_record(store, "a.json", "delete it")
    told = str(raised.value)
    assert "a.json is damaged" in told
    assert told.endswith(": delete it")
    assert "\n" not in told
    return told


@given(st.dictionaries(st.text().filter(lambda key: key != "sha256"), VALUES, max_size=4))
def test_any_content_comes_back(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    """Of any JSON types, in every value."""
    store = open_store(str(tmp_path_factory.mktemp("store")))
    assert isinstance(content, dict)
    assert create_record(store, "a.json", content, "") == content
    assert read_record(store, "a.json", "") == content


def test_a_number_that_is_none_comes_back(local: Store) -> None:
    """An epoch's loss may be NaN."""
    create_record(local, "a.json", {"loss": math.nan}, "")
    found = read_record(local, "a.json", "")
    assert found
    assert math.isnan(found["loss"])


def test_no_record_is_no_damage(local: Store) -> None:
    """What was never written is None."""
    assert read_record(local, "a.json", "") is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"3",
        b"{}",
        b"\xff\xfe",
        b"\0" * 40,
        b"[" * 100_000,
        b'{"sha256": 3}',
        json.dumps(CONTENT).encode(),
        json.dumps(CONTENT | {"sha256": "0" * 64}).encode(),
    ],
)
def test_other_bytes_are_damage(local: Store, data: bytes) -> None:
    """Empty, torn, of another shape, or with no digest of its own."""
    damage(local, data)


@given(data=st.data())
def test_a_flipped_bit_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Wherever it is, it is told, or has changed white space alone."""
    store = open_store(str(tmp_path_factory.mktemp("store")))
    create_record(store, "a.json", CONTENT, "")
    whole = bytearray(store.read("a.json"))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    store.put("a.json", bytes(whole))
    try:
        assert read_record(store, "a.json", "delete it") == CONTENT
    except DamagedRecordError:
        damage(store, bytes(whole))


def test_whoever_comes_later_is_told_of_damage(local: Store) -> None:
    """A record that is there is not overwritten, damaged or not."""
    local.put("a.json", b"torn")
    with pytest.raises(DamagedRecordError):
        create_record(local, "a.json", CONTENT, "delete it")
    assert local.read("a.json") == b"torn"
