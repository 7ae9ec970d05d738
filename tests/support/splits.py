"""A split of a dataset whole in memory, for tests to look at."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vae.data.datasets import DatasetRef
from vae.data.mapped import open_rows, read_labels
from vae.store.promises import Store


class Arrays(NamedTuple):
    """Images uint8 [N, C, H, W] and labels int64 [N]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def load(ref: DatasetRef, store: Store, split: str) -> Arrays:
    """All images and labels of a split."""
    images, labels = open_rows(ref, store, split)[:], read_labels(ref, store, split)
    return Arrays(images.numpy(), labels.numpy())
