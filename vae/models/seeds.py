"""Randomness by purpose: a seed, and what it is for, name one stream of numbers."""

from hashlib import blake2b

import torch
from torch import Tensor


def derive_seed(seed: int, *key: str | int) -> int:
    """A 63-bit seed for one purpose; different keys give independent streams."""
    text = "/".join(str(part) for part in (seed, *key))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 1


def draw_permutation(n: int, seed: int, epoch: int) -> Tensor:
    """The order [n] in which one epoch sees the training images, drawn on the CPU everywhere."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return torch.randperm(n, generator=generator)
