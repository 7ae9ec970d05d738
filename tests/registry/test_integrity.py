"""A version that was tampered with is refused before anything of it appears or is loaded."""

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from tests.support.refusals import catch_refusal
from vae.errors import UserError
from vae.registry.manifest import IntegrityError, Manifest, verify
from vae.registry.pointers import Best
from vae.registry.promote import promote
from vae.registry.publish import Origin, publish
from vae.registry.pull import pull
from vae.registry.read import list_versions
from vae.store.open import open_store
from vae.store.promises import Store

FOLDER = "models/m/versions/v1"


@pytest.fixture
def published(store: Store, tmp_path: Path) -> Store:
    """A store with the version m@v1, the best of its model."""
    return publish_small(store, tmp_path)


@pytest.fixture
def local(tmp_path: Path) -> Store:
    """The same in a local folder, for what does not depend on the store."""
    return publish_small(open_store(str(tmp_path / "local")), tmp_path)


def build(folder: Path) -> Path:
    folder.mkdir()
    save_file({"w": np.zeros(3, np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    (folder / "metrics.json").write_text('{"val/nll": 1.5}')
    return folder


def publish_folder(store: Store, version: str, folder: Path) -> None:
    publish(store, "m", version, folder, Origin("r", "d", {}))


def publish_small(store: Store, tmp_path: Path) -> Store:
    publish_folder(store, "v1", build(tmp_path / "built"))
    promote(store, "m", "v1", 1.5)
    return store


def rewrite_manifest(store: Store, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest and point `best.json` at it, as whoever can write the store may."""
    fields = json.loads(store.read(f"{FOLDER}/manifest.json"))
    change(fields)
    put_manifest(store, json.dumps(fields).encode())


def put_manifest(store: Store, data: bytes) -> None:
    store.put(f"{FOLDER}/manifest.json", data)
    best = json.loads(store.read("models/m/best.json"))
    best["manifest_sha256"] = hashlib.sha256(data).hexdigest()
    store.put("models/m/best.json", json.dumps(best).encode())


def record(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def refused(store: Store, tmp_path: Path, message: str) -> None:
    """Pulling fails with one line that holds `message`, and leaves nothing behind."""
    before = sorted(tmp_path.iterdir())
    for version in ("v1", "best"):
        with pytest.raises(IntegrityError, match=message) as caught:
            pull(store, "m", version, tmp_path / "to")
        assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_changed_file(published: Store, tmp_path: Path) -> None:
    """A changed file is named, with the hash that was expected and the one that was found."""
    old, new = b"{}", b"[]"
    published.put(f"{FOLDER}/config.json", new)
    expected, found = record(old)["sha256"], record(new)["sha256"]
    refused(published, tmp_path, rf"config\.json was changed.*{expected}.*{found}")


def test_truncated_file(published: Store, tmp_path: Path) -> None:
    """A file that lost its end is refused."""
    data = published.read(f"{FOLDER}/model.safetensors")
    published.put(f"{FOLDER}/model.safetensors", data[:-1])
    refused(published, tmp_path, rf"expected {len(data)} bytes.* found {len(data) - 1} bytes")


def test_missing_file(published: Store, tmp_path: Path) -> None:
    """A file that is gone is refused by name."""
    published.delete(f"{FOLDER}/config.json")
    refused(published, tmp_path, r"config\.json is missing")


def test_changed_manifest(published: Store, tmp_path: Path) -> None:
    """The best version's manifest is the one that was promoted."""
    data = published.read(f"{FOLDER}/manifest.json")
    published.put(f"{FOLDER}/manifest.json", data + b"\n")
    with pytest.raises(IntegrityError, match=r"manifest\.json was changed: expected sha256"):
        pull(published, "m", "best", tmp_path / "to")


HOSTILE_NAMES = [
    *("../evil.json", "/etc/evil.json", "a/b.json", "a\\b.json", "..", ".json", "C:x.json"),
    *("manifest.json", "CONFIG.json", "evil.pt", "evil.pkl", "evil.bin", "evil.py", "a\0.json", ""),
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names(local: Store, tmp_path: Path, name: str) -> None:
    """A manifest that names a path, a pickle or a file twice is refused, whatever is there."""
    rewrite_manifest(local, lambda fields: fields["files"].update({name: record(b"x")}))
    (tmp_path / "local" / "models" / "m" / "versions" / "evil.json").write_bytes(b"x")
    refused(local, tmp_path, "lists")


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields["files"].pop("model.safetensors"),
        lambda fields: fields["files"].pop("config.json"),
        lambda fields: fields["files"].pop("metrics.json"),
        lambda fields: fields.pop("dataset"),
        lambda fields: fields.update(extra=1),
        lambda fields: fields.update(files=[]),
        lambda fields: fields.update(run_id=None),
        lambda fields: fields.update(version="v2"),
        lambda fields: fields["files"].update({"config.json": {"size": 2}}),
        lambda fields: fields["files"].update({"config.json": {"size": True, "sha256": "0" * 64}}),
        lambda fields: fields["files"].update({"config.json": {"size": -1, "sha256": "0" * 64}}),
        lambda fields: fields["files"].update({"config.json": {"size": 2, "sha256": "A" * 64}}),
    ],
)
def test_malformed_manifest(
    local: Store, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    """A manifest with a field missing, added or of the wrong kind is refused."""
    rewrite_manifest(local, change)
    refused(local, tmp_path, r"manifest\.json")


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[]", b'{"name": 1, "name": 2}', b'{"a": NaN}', b"[" * 100_000]
)
def test_malformed_json(local: Store, tmp_path: Path, data: bytes) -> None:
    """A manifest that is not one JSON object with distinct keys is refused."""
    put_manifest(local, data)
    refused(local, tmp_path, r"manifest\.json is not")


def test_pickle_in_disguise(local: Store, tmp_path: Path) -> None:
    """A pickle under the name of a safetensors file is refused though its hash is right."""
    data = pickle.dumps({"w": [0.0] * 100})
    local.put(f"{FOLDER}/model.safetensors", data)
    rewrite_manifest(
        local, lambda fields: fields["files"].update({"model.safetensors": record(data)})
    )
    refused(local, tmp_path, r"model\.safetensors is not a safetensors file")
    disguised = build(tmp_path / "disguised")
    (disguised / "model.safetensors").write_bytes(data)
    with pytest.raises(IntegrityError, match="not a safetensors file"):
        publish_folder(local, "v2", disguised)


@pytest.mark.parametrize("name", ["model.pt", "weights.pkl", "x.bin", ".hidden.json", "a b.png"])
def test_unpublishable_files(tmp_path: Path, name: str) -> None:
    """A version takes safetensors, JSON, PNG and HTML files with plain names, and no others."""
    built = build(tmp_path / "built")
    (built / name).write_bytes(b"x")
    with pytest.raises(IntegrityError, match="lists '"):
        publish_folder(open_store(str(tmp_path / "store")), "v1", built)
    assert not (tmp_path / "store").exists()


def test_unpublishable_folders(tmp_path: Path) -> None:
    """A folder without a model, with a link in it, or that is none, is refused."""
    store = open_store(str(tmp_path / "store"))
    built = build(tmp_path / "built")
    (built / "link.json").symlink_to(built / "config.json")
    with pytest.raises(IntegrityError, match="not a plain file"):
        publish_folder(store, "v1", built)
    (built / "link.json").unlink()
    (built / "config.json").unlink()
    with pytest.raises(IntegrityError, match=r"lists no config\.json"):
        publish_folder(store, "v1", built)
    with pytest.raises(UserError, match="not a folder"):
        publish_folder(store, "v1", tmp_path / "none")


def test_verify_before_load(local: Store, tmp_path: Path) -> None:
    """A pulled folder is checked again: changed, missing and linked files are refused."""
    to = tmp_path / "to"
    pull(local, "m", "best", to)
    config = to / "config.json"
    assert verify(to).version == "v1"
    config.rename(to / "real.json")
    with pytest.raises(IntegrityError, match=r"config\.json is missing"):
        verify(to)
    config.symlink_to(to / "real.json")
    with pytest.raises(IntegrityError, match="not a plain file"):
        verify(to)
    config.unlink()
    config.write_text("{ }")
    with pytest.raises(IntegrityError, match=r"config\.json was changed"):
        verify(to)
    with pytest.raises(UserError, match="not a pulled model"):
        verify(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"value": "1"}, {"value": True}, {"value": 10**400}, {"version": "../v1"}, {"extra": ""}],
)
def test_malformed_best(local: Store, tmp_path: Path, change: dict[str, Any]) -> None:
    """A pointer that is not what `promote` writes is refused by every reader."""
    fields = json.loads(local.read("models/m/best.json"))
    local.put("models/m/best.json", json.dumps(fields | change).encode())
    for read in (
        lambda: pull(local, "m", "best", tmp_path / "to"),
        lambda: promote(local, "m", "v1", 1.0),
        lambda: list_versions(local, "m"),
    ):
        with pytest.raises(IntegrityError, match=r"best\.json"):
            read()


@given(st.binary() | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_parsers_take_any_bytes(data: bytes | str) -> None:
    """Whatever the bytes, parsing ends in a value or in an IntegrityError."""
    for parse in (Manifest.from_bytes, Best.from_bytes):
        with pytest.raises(IntegrityError):
            parse(data if isinstance(data, bytes) else data.encode(), "here")


@pytest.mark.parametrize("data", [b"[1.5]", b'{"val/nll": NaN}', b"1", b""])
@pytest.mark.parametrize("name", ["metrics.json", "config.json"])
def test_what_is_no_json_object_is_not_pulled(
    local: Store, tmp_path: Path, name: str, data: bytes
) -> None:
    """Also where the manifest agrees with it."""
    local.put(f"{FOLDER}/{name}", data)
    rewrite_manifest(local, lambda fields: fields["files"].update({name: record(data)}))
    refused(local, tmp_path, f"{name} is not")


def test_a_manifest_that_can_not_be_read(tmp_path: Path) -> None:
    """Its mode or its disk is at fault, and the folder is told; here it is a process's memory."""
    (tmp_path / "manifest.json").symlink_to("/proc/self/mem")
    assert catch_refusal(verify, tmp_path) == f"{tmp_path} cannot be read: Input/output error"


def test_a_loop_of_links_is_named(local: Store, tmp_path: Path) -> None:
    """The folder to make, or one above it."""
    (tmp_path / "loop").symlink_to("loop")
    for to in (tmp_path / "loop", tmp_path / "loop" / "to"):
        with pytest.raises(UserError, match=f"cannot write {to}: .*symbolic links"):
            pull(local, "m", "best", to)
