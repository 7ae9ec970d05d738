"""The published datasets themselves, from where this machine gets them."""

import numpy as np
import pytest

from vae.data.datasets import load, prepare
from vae.experiments.settings import DataConfig
from vae.store.promises import Store

pytestmark = pytest.mark.slow
SPLITS = ("train", "val", "test")


def test_mnist_itself(local: Store) -> None:
    """The real MNIST has the known splits, first labels, mean pixel and digests."""
    ref = prepare(DataConfig(), local)
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
