"""The published datasets themselves, from where this machine gets them."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.splits import load
from vae.data.datasets import prepare
from vae.data.emoji import find_family
from vae.experiments.settings import DataConfig
from vae.store.promises import Store

pytestmark = pytest.mark.slow
SPLITS = ("train", "val", "test")


def test_mnist_itself(
    local: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The real MNIST has the known splits, first labels, mean pixel and digests.

    A folder of its name beside it is told of.
    """
    (tmp_path / "mnist").mkdir()
    monkeypatch.chdir(tmp_path)
    ref = prepare(DataConfig(), local)
    assert "the folder of that name is ./mnist" in caplog.text
    assert (ref.shape, ref.classes) == ((1, 28, 28), 10)
    assert ref.counts == {"train": 50_000, "val": 10_000, "test": 10_000}
    train, val, test = (load(ref, local, name) for name in SPLITS)
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(np.concatenate([train.labels, val.labels])).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    pixels = np.concatenate([train.images, val.images])
    assert pixels.mean() / 255 == pytest.approx(0.1307, abs=5e-5)


def test_fashion_mnist_itself(local: Store) -> None:
    """The real Fashion-MNIST has the known splits, classes and mean pixel."""
    ref = prepare(DataConfig(name="fashion-mnist"), local)
    assert ref.counts == {"train": 50_000, "val": 10_000, "test": 10_000}
    train, val, test = (load(ref, local, name) for name in SPLITS)
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert np.bincount(np.concatenate([train.labels, val.labels])).tolist() == [6000] * 10
    pixels = np.concatenate([train.images, val.images])
    assert pixels.mean() / 255 == pytest.approx(0.2860, abs=5e-5)


def test_emoji_themselves(local: Store) -> None:
    """The font's own pictures have the known splits and digest, and no family is in two splits."""
    ref = prepare(DataConfig(name="emoji"), local)
    assert (ref.shape, ref.class_names) == ((3, 64, 64), ("thing", "person", "flag"))
    assert ref.counts == {"train": 2747, "val": 678, "test": 491}
    assert ref.digest == "387da4339dc54f044be3feba1b199ef6614d51dc89594e60594ca5195dbc3f98"
    rows = [row.tobytes() for name in SPLITS for row in load(ref, local, name).images]
    assert len(set(rows)) == len(rows)


def test_photo_patches_themselves(local: Store) -> None:
    """The packages' photographs give the known splits, in colour, with nothing told twice."""
    ref = prepare(DataConfig(name="photo-patches"), local)
    assert (ref.shape, ref.classes) == ((3, 32, 32), 1)
    assert ref.counts == {"train": 5446, "val": 864, "test": 2260}
    means = [load(ref, local, name).images.mean() for name in SPLITS]
    assert means == pytest.approx([115.6, 126.3, 116.1], abs=0.05)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0x1F44B,), (0x1F44B, 0x1F3FF)),
        ((0x1F468, 0x200D, 0x1F680), (0x1F469, 0x1F3FB, 0x200D, 0x1F680)),
        ((0x1F3C3,), (0x1F3C3, 0x1F3FD, 0x200D, 0x2640, 0xFE0F)),
    ],
)
def test_emoji_of_one_family_stay_together(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    """Skin tone and gender alone make no other family."""
    assert find_family(one) == find_family(other)
    assert find_family(one) != find_family((0x1F600,))
