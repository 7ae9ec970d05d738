"""The logistic distribution over 256 levels, and the scale on which models see them."""

import math

import pytest
import torch

from vae.models.levels import from_unit, to_unit
from vae.models.likelihoods.discretized import bound_log_scale, level_log_prob, unbound_deviation

ALL_LEVELS = torch.arange(256, dtype=torch.float64)


@pytest.mark.parametrize("log_scale", [-2.0, 1.0, 4.0])
def test_a_level_is_a_difference_of_distribution_functions(log_scale: float) -> None:
    """Within half a level; at both ends, all that lies beyond."""
    location = torch.tensor([-30.0, 0.2, 100.0, 254.9, 300.0], dtype=torch.float64)[:, None]
    log_scales = torch.full_like(location, log_scale)
    ends = (torch.arange(-1, 256, dtype=torch.float64) + 0.5 - location) * math.exp(-log_scale)
    below = torch.sigmoid(ends)
    below[:, 0], below[:, -1] = 0, 1
    found = level_log_prob(ALL_LEVELS, location, log_scales).exp()
    torch.testing.assert_close(found, below.diff(dim=1), rtol=1e-9, atol=1e-12)


def test_scales_are_bounded_smoothly() -> None:
    """A deviation comes back as the scale that has it; far ones stop before they harm."""
    deviations = torch.tensor([1.0, 12.0, 74.0, 300.0], dtype=torch.float64)
    scales = bound_log_scale(unbound_deviation(deviations)).exp()
    torch.testing.assert_close(scales * math.pi / math.sqrt(3), deviations)
    ends = bound_log_scale(torch.tensor([-1e30, 1e30])).tolist()
    assert ends == [-3, 7]


def test_levels_there_and_back() -> None:
    """Every byte survives the scale on which models see it, in float32."""
    assert torch.equal(from_unit(to_unit(ALL_LEVELS)), ALL_LEVELS.float())
