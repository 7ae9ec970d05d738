"""Pixels as bytes and as numbers in [0, 1]: the one scale on which every model sees them."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

LEVELS = 256  # of a byte
AT_ONCE = 1000  # images taken as floats
PLAIN_NUMBERS = 2**14  # an image of 64 x 64 in colour and less; larger ones are taken in fewer
WHOLE_BYTES = 256_000_000  # of images that are summed at once
FLOATS = 2**24  # of theirs in memory


class Images(Protocol):
    """Images [N, C, H, W] of which one takes some: a tensor, or what reads them when asked."""

    @property
    def shape(self) -> torch.Size: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Tensor: ...


class Moments(NamedTuple):
    """Of the training pixels in [0, 1]: their mean and mean square, each [C, H, W]."""

    mean_CHW: Tensor
    square_CHW: Tensor

    @property
    def deviation_CHW(self) -> Tensor:
        """The standard deviation; 0 where rounding leaves less."""
        return (self.square_CHW - self.mean_CHW.square()).clamp_min(0).sqrt()

    def pool(self) -> "Moments":
        """Those of all pixels of a colour together, [C, 1, 1]."""
        mean_C, square_C = (moment.mean((1, 2)) for moment in self)
        return Moments(mean_C[:, None, None], square_C[:, None, None])


def to_unit(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Bytes as levels in [0, 1]."""
    return images.to(dtype) / (LEVELS - 1)


def from_unit(x: Tensor) -> Tensor:
    """Undo `to_unit`: levels 0 to 255, of the type that x has."""
    return (x * (LEVELS - 1)).round()


def count_at_once(shape: Sequence[int], most: int) -> int:
    """How many images [..., C, H, W] to take at once: `most`, or one at least of larger ones.

    Beyond PLAIN_NUMBERS they take no more memory than `most` of that size.
    """
    return max(1, min(most, most * PLAIN_NUMBERS // math.prod(shape[-3:])))


def split(images: Images, most: int) -> Iterator[Tensor]:
    """Yield all images, some at a time: see `count_at_once`."""
    at_once = count_at_once(images.shape, most)
    return (images[start : start + at_once] for start in range(0, len(images), at_once))


def measure_moments(images_NCHW: Images) -> Moments:
    """The moments of uint8 images, float32."""
    squares = [to_unit(part).square().sum(0) for part in split(images_NCHW, AT_ONCE)]
    mean_CHW = measure_mean_level(images_NCHW) / (LEVELS - 1)
    return Moments(mean_CHW, torch.stack(squares).sum(0) / len(images_NCHW))


def measure_mean_level(images_NCHW: Images) -> Tensor:
    """The mean image, in levels, float32.

    A set that one shard holds is summed at once, in float32: weights that were published begin with
    how that rounds, which no other pixel changes. A larger one is summed in whole numbers, exactly.
    """
    if math.prod(images_NCHW.shape) <= WHOLE_BYTES:
        at_once = max(1, FLOATS // len(images_NCHW))
        parts = torch.split(images_NCHW[:].flatten(1), at_once, 1)
        return torch.cat([part.float().mean(0) for part in parts]).view(images_NCHW.shape[1:])
    sums = (part.sum(0, dtype=torch.int64) for part in split(images_NCHW, AT_ONCE))
    total = sum(sums, torch.zeros(images_NCHW.shape[1:], dtype=torch.int64))
    return (total.double() / len(images_NCHW)).float()
