"""The logistic distribution over the 256 levels of a byte; every number here is in levels.

The probability of a level is what a logistic distribution has within half a level of it; beyond the
lowest and the highest level all of it counts to these (Salimans et al. 2017, arXiv:1701.05517).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vae.models.levels import LEVELS

TOP = LEVELS - 1
# The log-scale lies within REACH of MIDDLE. The least scale, a twentieth of a level, makes a level
# certain to 1e-4 nats; the greatest makes all of them but the ends as good as equal.
MIDDLE, REACH = 2.0, 5.0
FAR = 1e4  # in levels, from all of them: nine of the greatest scales
DEVIATION = math.pi / math.sqrt(3)  # of a logistic distribution of scale 1


def bound_log_scale(raw: Tensor) -> Tensor:
    """The log-scale of any real number, smoothly bounded; 0 is MIDDLE."""
    return MIDDLE + REACH * torch.tanh(raw / REACH)


def unbound_deviation(deviation: Tensor) -> Tensor:
    """The number of which `bound_log_scale` makes this standard deviation, as near as it can."""
    log_scale = (deviation.clamp_min(1e-6) / DEVIATION).log()
    return REACH * torch.atanh(((log_scale - MIDDLE) / REACH).clamp(-0.9, 0.9))


def level_log_prob(level: Tensor, location: Tensor, log_scale: Tensor) -> Tensor:
    """log p(level) in nats, elementwise.

    With a and b the standardised ends of the level, sigmoid(a) - sigmoid(b) is
    sigmoid(a) sigmoid(-b) (1 - exp(b - a)): a product, of which nothing cancels.
    """
    inverse = torch.exp(-log_scale)  # a - b: a level is 1 wide
    above = (level + 0.5 - location) * inverse
    below = above - inverse
    under_top, over_bottom = level < TOP, level > 0
    log_prob = F.logsigmoid(above) * under_top + F.logsigmoid(-below) * over_bottom
    return log_prob + torch.log(-torch.expm1(-inverse)) * (under_top & over_bottom)


def mean_level(location: Tensor, log_scale: Tensor) -> Tensor:
    """The expected level, to half a level: that of the distribution cut off at both ends."""
    scale, location = log_scale.exp(), location.clamp(-FAR, FAR)  # beyond, the terms cancel
    cut = scale * (F.softplus(location / scale) - F.softplus((location - TOP) / scale))
    return cut.clamp(0, TOP)  # of rounding


def draw_level(location: Tensor, log_scale: Tensor, uniform: Tensor) -> Tensor:
    """The level at which a number in (0, 1) falls: a draw, where that is uniform."""
    drawn = location + log_scale.exp() * (uniform.log() - torch.log1p(-uniform))
    return drawn.round().clamp(0, TOP)
