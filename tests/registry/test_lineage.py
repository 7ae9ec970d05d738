"""Which version a training begins with, and what its manifest says of it."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.refusals import catch_refusal
from tests.support.versions import publish_version, write_version
from vae.experiments.loading import load_experiment
from vae.experiments.settings import Experiment
from vae.registry.lineage import Start, check_same_manifest, choose_start, read_start
from vae.registry.manifest import IntegrityError, Manifest
from vae.registry.promote import promote
from vae.registry.publish import Origin, publish
from vae.registry.read import list_versions, read_manifest
from vae.store.open import open_store
from vae.store.promises import Store

DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
PLAIN = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)


def asking(start: str) -> Experiment:
    return load_experiment("tiny", {"train.from": start, "search.trials": 0})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with two versions of tiny, none of them the best."""
    opened = open_store(str(tmp_path / "store"))
    for number in (1, 2):
        folder = write_version(tmp_path / f"v{number}", 90.0 + number)
        publish_version(opened, f"v{number}", folder, name="tiny")
    return opened


def test_the_start_is_what_was_asked_for(store: Store) -> None:
    """From scratch, by name and version, or the best of the moment, where there is one."""
    assert choose_start(store, asking("scratch")) is None
    assert choose_start(store, asking("best")) is None
    assert str(choose_start(store, asking("tiny@v2"))) == "tiny@v2"
    promote(store, "tiny", "v1", 91.0)
    best = choose_start(store, asking("best"))
    assert str(best) == "tiny@v1"
    assert best == choose_start(store, asking("tiny@v1"))


def test_what_is_no_start_is_refused_by_name(store: Store) -> None:
    """An unknown version, and a best whose manifest is not the one that was promoted."""
    assert "no version 'v3'" in catch_refusal(choose_start, store, asking("tiny@v3"))
    promote(store, "tiny", "v1", 91.0)
    key = "models/tiny/versions/v1/manifest.json"
    chosen = choose_start(store, asking("best"))
    assert chosen
    store.put(key, store.read(key) + b" ")
    assert f"{key} was changed" in catch_refusal(choose_start, store, asking("best"))
    with pytest.raises(IntegrityError, match="tiny@v1: its manifest was changed since"):
        check_same_manifest(store.read(key), chosen)


@given(PLAIN, PLAIN, DIGESTS)
def test_a_lineage_says_which_version_it_was(name: str, version: str, digest: str) -> None:
    """Written and read again, it is the same start; an empty one is none."""
    start = Start(name=name, version=version, manifest_sha256=digest)
    assert read_start(start.to_lineage()) == start
    assert read_start({}) is None


def test_a_manifest_says_what_it_began_with(store: Store, tmp_path: Path) -> None:
    """And what cut it short; both are shown where versions are listed."""
    start = choose_start(store, asking("tiny@v1"))
    origin = Origin("r", "d", {}, start=start, cut="cut by its time budget")
    written = publish(store, "tiny", "v3", tmp_path / "v1", origin)
    _, manifest = read_manifest(store, "tiny", "v3")
    assert manifest == written
    assert read_start(manifest.lineage) == start
    notes = [info.manifest.notes for info in list_versions(store, "tiny") if info.manifest]
    assert notes == [(), (), ("from tiny@v1", "cut by its time budget")]


@pytest.mark.parametrize(
    "lineage",
    [
        {"from": "tiny@v1"},
        {"from": "tiny", "manifest_sha256": "0" * 64},
        {"from": "../tiny@v1", "manifest_sha256": "0" * 64},
        {"from": "tiny@v1", "manifest_sha256": "0" * 63},
        {"from": "tiny@v1", "manifest_sha256": "0" * 64, "more": ""},
    ],
)
def test_a_wrong_lineage_is_refused(store: Store, lineage: dict[str, str]) -> None:
    """A name that could leave its folder, a digest that is none, a field too many or too few."""
    _, manifest = read_manifest(store, "tiny", "v1")
    data = replace(manifest, lineage=lineage).to_bytes()
    with pytest.raises(IntegrityError, match="names no valid version"):
        Manifest.from_bytes(data, "manifest.json")
