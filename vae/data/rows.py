"""The images of a split by their numbers, in the shards that this process has mapped."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae.data.paging import announce

Reopen = tuple[Callable[..., "Rows"], tuple[Any, ...]]


class Rows:
    """Uint8 images [N, C, H, W] that lie in shards, one after the other; they are never written.

    Indexed as a tensor is, by a slice or by a tensor of numbers on the CPU; what that gives is a
    copy. `reopen` is how another process, which is sent these, comes by them.
    """

    def __init__(self, shards: Sequence[NDArray[np.uint8]], reopen: Reopen | None = None) -> None:
        self.shards, self.reopen = list(shards), reopen
        self.ends = list(itertools.accumulate(len(shard) for shard in shards))

    def __reduce__(self) -> Reopen:
        return self.reopen or (Rows, (self.shards,))

    def __len__(self) -> int:
        return self.ends[-1]

    @property
    def shape(self) -> torch.Size:
        """Those of the whole, [N, C, H, W]."""
        return torch.Size((len(self), *self.shards[0].shape[1:]))

    @property
    def nbytes(self) -> int:
        """Of all images."""
        return math.prod(self.shape)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        if isinstance(rows, slice):
            chosen = range(len(self))[rows]
            numbers = np.arange(chosen.start, chosen.stop, chosen.step)
        else:
            numbers = rows.numpy()
        images = torch.empty((len(numbers), *self.shape[1:]), dtype=torch.uint8)
        self.gather(numbers, images)
        return images

    def gather(self, numbers_B: NDArray[np.int64], into_BCHW: Tensor) -> None:
        """Copy the images of these numbers into a tensor on the CPU."""
        images = into_BCHW.numpy()
        places = np.searchsorted(self.ends, numbers_B, side="right")
        chosen = []
        for place in np.unique(places):
            shard, mine = self.shards[place], places == place
            numbers = numbers_B[mine] - (self.ends[place] - len(shard))
            announce(shard, numbers)
            chosen.append((mine, shard, numbers))
        for mine, shard, numbers in chosen:
            images[mine] = shard[numbers]

    def view_whole(self) -> Tensor | None:
        """All images without a copy, if one shard holds them."""
        return torch.from_numpy(self.shards[0]) if len(self.shards) == 1 else None
