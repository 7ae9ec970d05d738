"""Where the rows of a split lie: in memory once read, then whole on the device that trains.

A step takes rows by their numbers from what `place_rows` returns, and never asks where they are.
"""

import torch
from torch import Tensor

from vae.data.datasets import DatasetRef, load
from vae.store.promises import Store


def load_rows(ref: DatasetRef, store: Store, split: str) -> Tensor:
    """The images of a split, uint8 [N, C, H, W], in this process's memory. Raises ChecksumError."""
    return torch.from_numpy(load(ref, store, split).images)


def place_rows(images_NCHW: Tensor, device: torch.device) -> Tensor:
    """The images where the device takes rows of them fastest: in its own memory, all of them."""
    return images_NCHW.to(device)
