"""Datasets: splits by identity, and the store's promises."""

import dataclasses
import gzip
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from tests.support.idx_files import idx_files, numbers
from tests.support.splits import load
from vae.data.catalogue import DatasetSpec
from vae.data.datasets import ChecksumError, DatasetRef, prepare_from
from vae.data.formats import parse_idx
from vae.data.sources import list_operator_mirrors
from vae.errors import UserError
from vae.experiments.settings import DataConfig
from vae.files import hash_bytes
from vae.store.open import open_store
from vae.store.promises import Store

VALIDATION = 20
SPLITS = ("train", "val", "test")


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetSpec:
    """A made-up published dataset, served by the mirror that VAE_DATA_MIRROR names."""
    files = idx_files()
    folder = tmp_path / "mirror" / "made-up"
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(data))
    monkeypatch.setenv("VAE_DATA_MIRROR", str(tmp_path / "mirror"))
    return DatasetSpec(
        name="made-up",
        digests={name: hash_bytes(data) for name, data in files.items()},
        sources=lambda: list_operator_mirrors("made-up"),
        parse=parse_idx,
    )


CONFIG = DataConfig(validation=VALIDATION)


def test_splits_are_disjoint_complete_and_in_order(
    spec: DatasetSpec, store: Store, tmp_path: Path
) -> None:
    """Validation is the end of the training set; every image is in one split, with its label."""
    ref = prepare_from(spec, CONFIG, store, tmp_path / "cache")
    splits = {name: load(ref, store, name) for name in SPLITS}
    found = {name: numbers(split.images) for name, split in splits.items()}
    assert found == {
        "train": list(range(50)),
        "val": list(range(50, 70)),
        "test": list(range(70, 82)),
    }
    assert ref.counts == {"train": 50, "val": 20, "test": 12}
    assert (ref.shape, ref.classes) == ((1, 4, 4), 10)
    for name, (images, labels) in splits.items():
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        assert images.shape == (ref.counts[name], *ref.shape)
        assert labels.tolist() == [number % 10 for number in found[name]]


def test_limit_keeps_the_first_of_every_split(
    spec: DatasetSpec, local: Store, tmp_path: Path
) -> None:
    """A limit shortens what was split, so that validation stays disjoint from training."""
    config = dataclasses.replace(CONFIG, limit=15)
    ref = prepare_from(spec, config, local, tmp_path / "cache")
    assert [numbers(load(ref, local, name).images) for name in SPLITS] == [
        list(range(15)),
        list(range(50, 65)),
        list(range(70, 82)),
    ]


def test_a_prepared_dataset_needs_no_source(
    spec: DatasetSpec, store: Store, tmp_path: Path
) -> None:
    """The store is asked first: neither the cache nor a source is needed again."""
    ref = prepare_from(spec, CONFIG, store, tmp_path / "cache")
    offline = dataclasses.replace(spec, sources=list)
    assert prepare_from(offline, CONFIG, store, tmp_path / "empty") == ref
    with pytest.raises(UserError, match="no source gave"):
        prepare_from(offline, DataConfig(validation=21), store, tmp_path / "empty")


def test_a_fresh_store_is_filled_from_the_cache(
    spec: DatasetSpec, local: Store, tmp_path: Path
) -> None:
    """Verified downloads are kept for other stores and other splits."""
    ref = prepare_from(spec, CONFIG, local, tmp_path / "cache")
    offline = dataclasses.replace(spec, sources=list)
    other = open_store(str(tmp_path / "other"))
    assert prepare_from(offline, CONFIG, other, tmp_path / "cache") == ref


def test_the_key_depends_on_what_changes_the_arrays(
    spec: DatasetSpec, local: Store, tmp_path: Path
) -> None:
    """Split and limit make another dataset; binarisation happens later and does not."""
    configs = [
        CONFIG,
        dataclasses.replace(CONFIG, validation=10),
        dataclasses.replace(CONFIG, limit=5),
        dataclasses.replace(CONFIG, binarize="none", binarize_seed=3),
    ]
    refs = [prepare_from(spec, config, local, tmp_path / "cache") for config in configs]
    assert len({ref.key for ref in refs}) == 3
    assert refs[0] == refs[3]


def test_too_large_a_validation_split_is_one_line(
    spec: DatasetSpec, local: Store, tmp_path: Path
) -> None:
    """The error says how many images there are, and nothing is written."""
    with pytest.raises(UserError, match=r"validation = 70 leaves none of its 70 .* less than 70"):
        prepare_from(spec, DataConfig(validation=70), local, tmp_path / "cache")
    assert local.list() == []


def test_racing_preparations_agree(spec: DatasetSpec, store: Store, tmp_path: Path) -> None:
    """Any number of preparations at once all succeed with the same dataset."""
    with ThreadPoolExecutor(4) as pool:
        runs = [
            pool.submit(prepare_from, spec, CONFIG, store, tmp_path / "cache") for _ in range(4)
        ]
        refs = [run.result() for run in runs]
    assert refs == [refs[0]] * 4
    assert numbers(load(refs[0], store, "val").images) == list(range(50, 70))


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from vae.data.catalogue import DatasetSpec, Parsed
from vae.experiments.settings import DataConfig
from vae.data.datasets import prepare_from
from vae.data.formats import Split
from vae.data.mapped import open_rows
from vae.store.open import open_store

class Dying:
    def __init__(self, store, writes):
        self.uri, self.read, self.store, self.writes = store.uri, store.read, store, writes
        self.exists = store.exists
    def put_file(self, key, path):
        self.count()
        self.store.put_file(key, path)
    def create(self, key, data):
        self.count()
        self.store.create(key, data)
    def count(self):
        if self.writes == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.writes -= 1

split = Split(np.arange(320, dtype=np.uint8).reshape(20, 1, 4, 4), np.zeros(20, np.int64))
spec = DatasetSpec(name="x", digests={}, sources=list, parse=lambda _: Parsed(split, split, 1))
store, config = open_store(sys.argv[1]), DataConfig(validation=5)
cache = Path(sys.argv[1] + "-cache")
for attempt in range(7):
    if (child := os.fork()) == 0:
        prepare_from(spec, config, Dying(store, 1 if attempt else 0), cache)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    assert not any(key.endswith("dataset.json") for key in store.list()), store.list()
assert len(store.list()) == 6, store.list()
ref = prepare_from(spec, config, store, cache)
assert len(open_rows(ref, store, "train")) == 15
"""


def test_a_killed_preparation_leaves_nothing_to_be_found(tmp_path: Path) -> None:
    """After kill -9 before any of the writes there is no dataset; each attempt writes one more."""
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "store")], check=True)


def test_changed_arrays_are_refused_by_name_and_hash(
    spec: DatasetSpec, local: Store, tmp_path: Path
) -> None:
    """A file that changed in the store is never used, and one that is missing is named."""
    ref = prepare_from(spec, CONFIG, local, tmp_path / "cache")
    local.put(f"{ref.key}/val.npy", b"rot")
    with pytest.raises(ChecksumError) as changed:
        load(ref, local, "val")
    assert f"{ref.key}/val.npy: sha256 expected {ref.files['val.npy']}" in str(changed.value)
    assert f"found {hash_bytes(b'rot')}" in str(changed.value)
    local.delete(f"{ref.key}/test.npy")
    with pytest.raises(ChecksumError, match=r"test\.npy: missing"):
        load(ref, local, "test")


def test_a_reference_survives_json(spec: DatasetSpec, local: Store, tmp_path: Path) -> None:
    """The stored record is the reference, in the order of the splits."""
    ref = prepare_from(spec, CONFIG, local, tmp_path / "cache")
    assert DatasetRef.from_json(ref.to_json()) == ref
    assert local.read(f"{ref.key}/dataset.json").decode() == ref.to_json()
    assert list(json.loads(ref.to_json())["counts"]) == list(SPLITS)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"key": 3}', b"\xff"])
def test_a_broken_reference_is_one_line(text: str | bytes) -> None:
    """Whatever is not a dataset record is refused in one line."""
    with pytest.raises(UserError, match="not a dataset record") as raised:
        DatasetRef.from_json(text)
    assert "\n" not in str(raised.value)


def test_a_broken_record_in_the_store_is_named(
    spec: DatasetSpec, local: Store, tmp_path: Path
) -> None:
    """The error names the record's place."""
    ref = prepare_from(spec, CONFIG, local, tmp_path / "cache")
    local.put(f"{ref.key}/dataset.json", b"{}")
    with pytest.raises(ChecksumError, match=f"{ref.key}/dataset.json"):
        prepare_from(spec, CONFIG, local, tmp_path / "cache")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"validation": 0}, "validation is 0, must be at least 1"),
        ({"limit": -1}, "limit is -1, must be at least 0"),
        ({"limit": 1}, "limit is 1, must be at least 2"),
        ({"binarize_seed": -1}, "binarize_seed is -1"),
        ({"binarize": "static"}, "binarize is 'static', must be one of dynamic, none"),
    ],
)
def test_a_bad_config_is_refused_when_it_is_made(given: dict[str, object], told: str) -> None:
    """Each message says what was given and what is allowed, without a line break."""
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(DataConfig).validate_python(given)
    (error,) = raised.value.errors()
    assert "\n" not in error["msg"]
    with pytest.raises(ValueError, match=told):
        DataConfig(**given)  # type: ignore[arg-type]
