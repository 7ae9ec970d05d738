"""Which rows and which noise at step t for rank r of w: what makes training a pure function.

All randomness is keyed by (seed, what it is for, where it stands in training), never by rank or
world size. A rank draws the noise of the global batch and keeps its own rows of it, so 1, 2 and 4
workers see the same images, the same binarisation and the same posterior noise at every step.
Noise is drawn where the images are: a GPU draws other numbers than a CPU, or another GPU model.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import torch
from torch import Tensor


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

    def of(self, n: int) -> slice:
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

    def steps(self, n_images: int) -> int:
        """Batches in an epoch: every image is seen once, the last batch may be short."""
        return -(-n_images // self.batch_size)

    def epoch(self, images_NCHW: Tensor, epoch: int, shard: Shard) -> Iterator[Batch]:
        """Yield this rank's batches of one epoch, on the device of the uint8 images."""
        n_images, device = len(images_NCHW), images_NCHW.device
        order_N = permutation(n_images, self.seed, epoch).to(device)
        noise = torch.Generator(device)
        for step in range(self.steps(n_images)):
            rows_G = order_N[step * self.batch_size :][: self.batch_size]
            mine = shard.of(len(rows_G))
            noise.manual_seed(seed_of(self.seed, "noise", epoch, step))
            pixels_BCHW = images_NCHW.index_select(0, rows_G[mine])
            yield Batch(
                self._input(pixels_BCHW, len(rows_G), mine, noise),
                self._posterior_noise(len(rows_G), mine, noise),
                len(rows_G),
            )

    def _input(
        self, pixels_BCHW: Tensor, global_size: int, mine: slice, noise: torch.Generator
    ) -> Tensor:
        if not self.binarize:
            return pixels_BCHW.to(self.dtype) / 255
        threshold = threshold_like(pixels_BCHW, global_size, noise)[mine]
        # As bytes: PyTorch converts these to floats faster than it does booleans.
        return (pixels_BCHW > threshold).view(torch.uint8).to(self.dtype)

    def _posterior_noise(self, global_size: int, mine: slice, noise: torch.Generator) -> Tensor:
        eps_KGD = torch.randn(
            (self.samples, global_size, self.latent_dim),
            generator=noise,
            device=noise.device,
            dtype=self.dtype,
        )
        return eps_KGD[:, mine]


def permutation(n: int, seed: int, epoch: int) -> Tensor:
    """The order [n] in which one epoch sees the training images, drawn on the CPU everywhere."""
    generator = torch.Generator().manual_seed(seed_of(seed, "order", epoch))
    return torch.randperm(n, generator=generator)


def threshold_like(pixels: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Uniform levels 0..254, uint8 [n, C, H, W]: `pixels > threshold` has p = pixel / 255.

    Random 64-bit words are eight random bytes each, an order of magnitude cheaper than bounded
    draws on a CPU. The one byte in 256 that is 255, no level, takes the spare level of its image
    instead. On a GPU, where every operation is a kernel, a bounded draw is the cheaper.
    """
    shape, device = (n, *pixels.shape[1:]), generator.device
    if device.type == "cuda":
        return torch.empty(shape, dtype=torch.uint8, device=device).random_(
            0, 255, generator=generator
        )
    count = math.prod(shape)
    words = torch.empty(-(-count // 8), dtype=torch.int64, device=device)
    levels = words.random_(-(2**63), None, generator=generator).view(torch.uint8)[:count]
    spare = torch.empty((n, 1), dtype=torch.uint8, device=device)
    step = spare.random_(0, 255, generator=generator).add_(1)  # 255 + step wraps to the level
    none = levels == torch.full_like(levels, 255)
    return levels.add_((none.view(torch.uint8).view(n, -1) * step).view(-1)).view(shape)


def binarized(images_NCHW: Tensor, seed: int) -> Tensor:
    """The one fixed binarisation of an evaluation split: uint8 0 or 1, [N, C, H, W].

    Drawn on the CPU for the whole split, so that the recorded seed names the same images on any
    device and for any sharding.
    """
    generator = torch.Generator().manual_seed(seed_of(seed, "binarize"))
    on_cpu = images_NCHW.cpu()
    return (on_cpu > threshold_like(on_cpu, len(on_cpu), generator)).to(torch.uint8)


def seed_of(seed: int, *key: str | int) -> int:
    """A 63-bit seed for one purpose; different keys give independent streams."""
    text = "/".join(str(part) for part in (seed, *key))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 1
