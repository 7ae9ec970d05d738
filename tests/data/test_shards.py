"""Shards: the bytes that np.save writes, from whatever pieces, mapped in one order."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from vae.data.datasets import ChecksumError, DatasetRef
from vae.data.formats import Split
from vae.data.images import Look
from vae.data.mapped import open_rows, read_labels
from vae.data.pixels import Chosen
from vae.data.shards import ShardWriter
from vae.files import hash_bytes
from vae.store.open import open_store
from vae.store.promises import Store

IMAGES = np.random.default_rng(0).integers(0, 256, (23, 3, 5, 4), dtype=np.uint8)
LABELS = np.arange(23) % 4


def write(store: Store, folder: Path, shard_bytes: int) -> DatasetRef:
    """One split of 23 images of 60 bytes, in shards of so many."""
    folder.mkdir(parents=True)
    writer = ShardWriter(store, "datasets/x", folder, shard_bytes)
    written = writer.write("train", Split(IMAGES, LABELS), Look())
    return DatasetRef(
        key="datasets/x",
        name="x",
        digest="",
        shape=written.shape,
        counts={"train": 23},
        classes=4,
        files=written.files,
    )


@pytest.mark.parametrize(("shard_bytes", "shards"), [(23 * 60, 1), (600, 3), (1, 23)])
def test_shards_are_the_split_in_order(
    store: Store, tmp_path: Path, shard_bytes: int, shards: int
) -> None:
    """A small set is one array under its plain name; any rows are those of the whole."""
    ref = write(store, tmp_path / "work", shard_bytes)
    files = sorted(file for file in ref.files if "labels" not in file)
    assert len(files) == shards
    assert files[0] == ("train.npy" if shards == 1 else "train-00000.npy")
    rows = open_rows(ref, store, "train")
    images = torch.from_numpy(IMAGES)
    assert torch.equal(rows[:], images)
    assert torch.equal(rows[7:21], images[7:21])
    assert torch.equal(rows[-3:], images[-3:])
    numbers = torch.tensor([22, 0, 9, 10, 9, 11])
    assert torch.equal(rows[numbers], images[numbers])
    assert torch.equal(pickle.loads(pickle.dumps(rows))[:], images)
    assert (rows.view_whole() is None) == (shards > 1)
    assert read_labels(ref, store, "train").tolist() == LABELS.tolist()
    for file, digest in ref.files.items():
        assert hash_bytes(store.read(f"{ref.key}/{file}")) == digest


def test_a_shard_is_what_numpy_would_save(local: Store, tmp_path: Path) -> None:
    """So that the digests of datasets which were stored as one array stay what they were."""
    ref = write(local, tmp_path / "work", 10**9)
    for file, array in (("train.npy", IMAGES), ("train-labels.npy", LABELS)):
        np.save(tmp_path / file, array)
        assert ref.files[file] == hash_bytes((tmp_path / file).read_bytes())


@pytest.mark.parametrize("lost", [b"", b"\0" * 64])
def test_a_mark_that_a_disk_has_lost_is_none(local: Store, tmp_path: Path, lost: bytes) -> None:
    """What a power cut emptied is no digest: the shard is written again, and known as before."""
    digests = []
    (tmp_path / "work").mkdir()
    writer = ShardWriter(local, "datasets/x", tmp_path / "work")
    for _ in range(2):
        digests.append(writer.write("train", Split(IMAGES, LABELS), Look()).files)
        (tmp_path / "work" / "train.npy.sha256").write_bytes(lost)
    assert digests[0] == digests[1]


def test_pieces_are_read_when_they_are_written(local: Store, tmp_path: Path) -> None:
    """Images in another order, read through what only knows their numbers."""
    order = np.random.default_rng(1).permutation(23)
    (tmp_path / "work").mkdir()
    writer = ShardWriter(local, "datasets/y", tmp_path / "work", 600)
    writer.write("train", Split(Chosen(IMAGES, order), LABELS[order]), Look())
    stored = [local.read(f"datasets/y/train-{n:05}.npy")[128:] for n in range(3)]
    assert b"".join(stored) == IMAGES[order].tobytes()


def test_a_node_fetches_each_file_of_s3_once(
    s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was mapped once is there without the store; what changed in the store is refused."""
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "cache"))
    store = open_store(s3_uri)
    ref = write(store, tmp_path / "work", 600)
    open_rows(ref, store, "train")
    store.put(f"{ref.key}/train-00001.npy", b"rot")
    store.delete(f"{ref.key}/train-00000.npy")
    assert torch.equal(open_rows(ref, store, "train")[:], torch.from_numpy(IMAGES))
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "other"))
    with pytest.raises(ChecksumError, match=r"train-00000\.npy: missing"):
        open_rows(ref, store, "train")
    store.put(f"{ref.key}/train-00000.npy", IMAGES.tobytes())
    with pytest.raises(ChecksumError, match=r"train-00000\.npy: sha256 expected"):
        open_rows(ref, store, "train")


def test_a_folder_store_is_mapped_where_it_lies(
    local: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No copy is made, and a file that was written anew since is hashed again."""
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "cache"))
    ref = write(local, tmp_path / "work", 600)
    assert torch.equal(open_rows(ref, local, "train")[:], torch.from_numpy(IMAGES))
    assert not (tmp_path / "cache" / "shards").exists()
    local.put(f"{ref.key}/train-00002.npy", b"rot")
    with pytest.raises(ChecksumError, match=r"train-00002\.npy: sha256 expected"):
        open_rows(ref, local, "train")
