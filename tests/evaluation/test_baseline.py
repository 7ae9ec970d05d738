"""The independent-pixel model against what is known of it."""

import math

import pytest
import torch

from vae.evaluation.baseline import measure_independent_pixels


def test_coins() -> None:
    """Fair pixels take log 2 each; pixels that never change take almost nothing."""
    fair = torch.tensor([0, 255], dtype=torch.uint8).repeat(500)[:, None, None, None]
    train = fair.expand(1000, 1, 2, 3)
    seen = (train[:10] > 127).to(torch.uint8)
    assert measure_independent_pixels(train, seen) == pytest.approx(6 * math.log(2))
    black = torch.zeros(1000, 1, 2, 3, dtype=torch.uint8)
    assert measure_independent_pixels(black, black[:10]) == pytest.approx(-6 * math.log(1 - 1e-3))


def test_a_biased_pixel_has_its_entropy() -> None:
    """Averaged over images as frequent as in training, it is the entropy of the pixel."""
    train = torch.zeros(100, 1, 1, 1, dtype=torch.uint8)
    train[:20] = 255
    entropy = -0.2 * math.log(0.2) - 0.8 * math.log(0.8)
    assert measure_independent_pixels(train, train // 255) == pytest.approx(entropy)
