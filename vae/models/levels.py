"""Pixels as bytes and as numbers in [0, 1]: the one scale on which every model sees them."""

from typing import NamedTuple

import torch
from torch import Tensor

LEVELS = 256  # of a byte
AT_ONCE = 1000  # images taken as floats


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


def measure_moments(images_NCHW: Tensor) -> Moments:
    """The moments of uint8 images, float32."""
    squares = [to_unit(part).square().sum(0) for part in torch.split(images_NCHW, AT_ONCE)]
    mean_CHW = images_NCHW.float().mean(0) / (LEVELS - 1)
    return Moments(mean_CHW, torch.stack(squares).sum(0) / len(images_NCHW))
