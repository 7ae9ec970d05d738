"""Pixels of 256 levels in colours that depend on each other: a mixture of discretised logistics."""

from typing import NamedTuple

import torch
from torch import Tensor

from vae.models.densities import promote_to_float32
from vae.models.levels import Moments, from_unit
from vae.models.likelihoods.base import Likelihood, draw_uniform
from vae.models.likelihoods.discretized import (
    DEVIATION,
    TOP,
    bound_log_scale,
    draw_level,
    level_log_prob,
    mean_level,
    unbound_deviation,
)

SPREAD = 0.5  # of a component's first deviation, to that of the pixels


class Parts(NamedTuple):
    """What the decoder says of M components; the dimensions before these are K, B or N."""

    weight_MHW: Tensor  # logits
    location_MCHW: Tensor  # in [-1, 1], of a pixel whose earlier colours are all 0
    log_scale_MCHW: Tensor  # in levels
    slope_MPHW: Tensor  # in (-1, 1), of each of P pairs of a colour and an earlier one


class LogisticMixture(Likelihood):
    """One of M components for all colours of a pixel, in each of which colours form a chain.

    A colour's location is linear in the levels of the earlier ones (PixelCNN++, Salimans et al.
    2017, arXiv:1701.05517). Grey images have one colour, and no chain.
    """

    def __init__(self, colours: int, components: int) -> None:
        super().__init__()
        self.colours, self.pairs = colours, colours * (colours - 1) // 2
        self.components = components
        self.outputs = components * (1 + 2 * colours + self.pairs)

    def split(self, decoded: Tensor) -> Parts:
        """The parts of [..., O, H, W], of the components each."""
        *leading, outputs, height, width = decoded.shape
        by_component = promote_to_float32(decoded).reshape(
            *leading, self.components, outputs // self.components, height, width
        )
        sizes = [1, self.colours, self.colours, self.pairs]
        weight, location, raw_scale, slope = torch.split(by_component, sizes, dim=-3)
        return Parts(weight.squeeze(-3), location, bound_log_scale(raw_scale), torch.tanh(slope))

    def locate(self, parts: Parts, colour: int, earlier: list[Tensor]) -> Tensor:
        """The location of a colour in levels, given the earlier ones' levels."""
        location, first = parts.location_MCHW[..., colour, :, :], colour * (colour - 1) // 2
        for offset, level in enumerate(earlier):
            slope = parts.slope_MPHW[..., first + offset, :, :]
            location = location + slope * (level * (2 / TOP) - 1)
        return TOP / 2 * (1 + location)

    def log_prob(self, x_BCHW: Tensor, decoded_KBOHW: Tensor) -> Tensor:
        parts = self.split(decoded_KBOHW)
        levels = [level[:, None] for level in from_unit(x_BCHW).unbind(1)]  # [B, 1, H, W] each
        log_prob_KBMHW = torch.log_softmax(parts.weight_MHW, dim=-3)
        for colour, level in enumerate(levels):
            location = self.locate(parts, colour, levels[:colour])
            log_scale = parts.log_scale_MCHW[..., colour, :, :]
            log_prob_KBMHW = log_prob_KBMHW + level_log_prob(level, location, log_scale)
        return torch.logsumexp(log_prob_KBMHW, dim=-3).sum((2, 3))

    def mean(self, decoded_NOHW: Tensor) -> Tensor:
        """As if each earlier colour were at its component's mean: exact, but for the ends."""
        parts, means = self.split(decoded_NOHW), list[Tensor]()
        for colour in range(self.colours):
            location = self.locate(parts, colour, means)
            means.append(mean_level(location, parts.log_scale_MCHW[..., colour, :, :]))
        share_NMHW = torch.softmax(parts.weight_MHW, dim=-3)
        return torch.stack([(share_NMHW * mean).sum(-3) for mean in means], dim=-3) / TOP

    def draw(self, decoded_NOHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        parts, levels = self.split(decoded_NOHW.detach()), list[Tensor]()
        # Gumbel's way: the largest of the logits, each with noise of its own, is a draw.
        uniform_NMHW = draw_uniform(parts.weight_MHW, generator)
        chosen = (parts.weight_MHW - torch.log(-torch.log(uniform_NMHW))).argmax(-3, keepdim=True)
        for colour in range(self.colours):
            location = self.locate(parts, colour, levels).gather(-3, chosen)
            log_scale = parts.log_scale_MCHW[..., colour, :, :].gather(-3, chosen)
            levels.append(draw_level(location, log_scale, draw_uniform(location, generator)))
        return torch.cat(levels, dim=-3) / TOP

    def start(self, moments: Moments) -> Tensor:
        """Components of equal weight, spread as the pixels are, so that they can part."""
        share_M111 = (torch.arange(self.components).view(-1, 1, 1, 1) + 0.5) / self.components
        spread = moments.deviation_CHW / DEVIATION
        location_MCHW = 2 * (moments.mean_CHW + spread * torch.logit(share_M111)) - 1
        raw_CHW = unbound_deviation(SPREAD * TOP * moments.deviation_CHW)
        raw_MCHW = raw_CHW.expand_as(location_MCHW)
        weight, slope = (location_MCHW.new_zeros(self.components, n, 1, 1) for n in (1, self.pairs))
        even = (part.expand(-1, -1, *location_MCHW.shape[2:]) for part in (weight, slope))
        weight_M1HW, slope_MPHW = even
        return torch.cat([weight_M1HW, location_MCHW, raw_MCHW, slope_MPHW], dim=1).flatten(0, 1)
