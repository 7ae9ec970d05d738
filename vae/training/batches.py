"""Which rows and which noise at step t for rank r of w: what makes training a pure function.

All randomness is keyed by (seed, what it is for, where it stands in training), never by rank or
world size. A rank draws the noise of the global batch and keeps its own rows of it, so 1, 2 and 4
workers see the same images, the same binarisation and the same posterior noise at every step.
Noise is drawn where the images are: a GPU draws other numbers than a CPU, or another GPU model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vae.data.binarization import draw_thresholds
from vae.data.placement import Placed
from vae.models.levels import to_unit
from vae.models.seeds import derive_seed, draw_permutation


class Batch(NamedTuple):
    """This rank's part of one global batch; it may be empty when the batch is ragged."""

    x_BCHW: Tensor  # float, in [0, 1]
    eps_KBD: Tensor  # posterior noise
    global_size: int  # images in the whole batch, over all ranks


@dataclass(frozen=True)
class Shard:
    """Which worker of how many."""

    rank: int = 0
    world: int = 1

    def select(self, n: int) -> slice:
        """This rank's contiguous part of n items; the parts of all ranks cover them exactly."""
        return slice(n * self.rank // self.world, n * (self.rank + 1) // self.world)


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """How one epoch is cut into global batches, and what is drawn for each."""

    seed: int
    batch_size: int  # images in a global batch; the last of an epoch holds what is left
    samples: int  # K, posterior samples per image
    latent_dim: int
    binarize: bool  # draw each pixel anew at every step, or keep grey levels
    dtype: torch.dtype = torch.float32

    def count_steps(self, n_images: int) -> int:
        """Batches in an epoch: every image is seen once, the last batch may be short."""
        return -(-n_images // self.batch_size)

    def draw_epoch(
        self, images: Placed, epoch: int, shard: Shard, first: int = 0
    ) -> Iterator[Batch]:
        """Yield this rank's batches of one epoch from step `first` on, on the images' device."""
        n_images = len(images)
        starts = range(first * self.batch_size, n_images, self.batch_size)
        sizes = [min(self.batch_size, n_images - start) for start in starts]
        parts = [shard.select(size) for size in sizes]
        rows = (
            slice(start + mine.start, start + mine.stop)
            for start, mine in zip(starts, parts, strict=True)
        )
        order_N = draw_permutation(n_images, self.seed, epoch)
        noise = torch.Generator(images.device)
        for step, pixels_BCHW in enumerate(images.stream(order_N, rows)):
            noise.manual_seed(derive_seed(self.seed, "noise", epoch, first + step))
            yield Batch(
                self._draw_input(pixels_BCHW, sizes[step], parts[step], noise),
                self._draw_noise(sizes[step], parts[step], noise),
                sizes[step],
            )

    def _draw_input(
        self, pixels_BCHW: Tensor, global_size: int, mine: slice, noise: torch.Generator
    ) -> Tensor:
        if not self.binarize:
            return to_unit(pixels_BCHW, self.dtype)
        threshold = draw_thresholds(pixels_BCHW, global_size, noise)[mine]
        # As bytes: PyTorch converts these to floats faster than it does booleans.
        return (pixels_BCHW > threshold).view(torch.uint8).to(self.dtype)

    def _draw_noise(self, global_size: int, mine: slice, noise: torch.Generator) -> Tensor:
        eps_KGD = torch.randn(
            (self.samples, global_size, self.latent_dim),
            generator=noise,
            device=noise.device,
            dtype=self.dtype,
        )
        return eps_KGD[:, mine]
