"""Pixels of 256 levels, each colour by itself: the discretised logistic."""

import torch
from torch import Tensor, nn

from vae.models.densities import promote_to_float32
from vae.models.levels import Moments, from_unit
from vae.models.likelihoods.base import Likelihood, draw_uniform
from vae.models.likelihoods.discretized import (
    TOP,
    bound_log_scale,
    draw_level,
    level_log_prob,
    mean_level,
    unbound_deviation,
)


class Logistic(Likelihood):
    """A location for each pixel and colour, with a scale for each or one for all of a colour.

    The decoder gives locations in [-1, 1], where 0 is the middle level, and log-scales.
    """

    def __init__(self, colours: int, *, scale_per_pixel: bool) -> None:
        super().__init__()
        self.outputs = 2 * colours if scale_per_pixel else colours
        self.raw_scale_C = None if scale_per_pixel else nn.Parameter(torch.zeros(colours))

    def split(self, decoded: Tensor) -> tuple[Tensor, Tensor]:
        """Location and log-scale in levels, [..., C, H, W]; the latter may be [C, 1, 1]."""
        decoded = promote_to_float32(decoded)
        if self.raw_scale_C is None:
            location, raw_scale = decoded.chunk(2, dim=-3)
        else:
            location, raw_scale = decoded, promote_to_float32(self.raw_scale_C)[:, None, None]
        return TOP / 2 * (1 + location), bound_log_scale(raw_scale)

    def log_prob(self, x_BCHW: Tensor, decoded_KBOHW: Tensor) -> Tensor:
        return level_log_prob(from_unit(x_BCHW), *self.split(decoded_KBOHW)).sum((2, 3, 4))

    def mean(self, decoded_NOHW: Tensor) -> Tensor:
        return mean_level(*self.split(decoded_NOHW)) / TOP

    def draw(self, decoded_NOHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        location, log_scale = self.split(decoded_NOHW.detach())
        return draw_level(location, log_scale, draw_uniform(location, generator)).detach() / TOP

    @torch.no_grad()
    def start(self, moments: Moments) -> Tensor:
        location_CHW = 2 * moments.mean_CHW - 1
        if self.raw_scale_C is None:
            return torch.cat([location_CHW, unbound_deviation(TOP * moments.deviation_CHW)])
        variance_C = moments.deviation_CHW.square().mean((1, 2))
        self.raw_scale_C.copy_(unbound_deviation(TOP * variance_C.sqrt()))
        return location_CHW
