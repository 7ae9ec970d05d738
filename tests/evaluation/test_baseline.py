"""The independent-pixel model against what is known of it."""

import math
from typing import Any

import pytest
import torch

from tests.support.images import draw_images
from vae.evaluation.baseline import measure_independent_pixels
from vae.experiments.settings import ModelConfig
from vae.models.levels import to_unit


def test_coins() -> None:
    """Fair pixels take log 2 each; pixels that never change take almost nothing."""
    fair = torch.tensor([0, 255], dtype=torch.uint8).repeat(500)[:, None, None, None]
    train = fair.expand(1000, 1, 2, 3)
    seen = (train[:10] > 127).to(torch.uint8)
    assert measure_independent_pixels(train, seen, ModelConfig()) == pytest.approx(6 * math.log(2))
    black = torch.zeros(1000, 1, 2, 3, dtype=torch.uint8)
    assert measure_independent_pixels(black, black[:10], ModelConfig()) == pytest.approx(
        -6 * math.log(1 - 1e-3)
    )


def test_a_biased_pixel_has_its_entropy() -> None:
    """Averaged over images as frequent as in training, it is the entropy of the pixel."""
    train = torch.zeros(100, 1, 1, 1, dtype=torch.uint8)
    train[:20] = 255
    entropy = -0.2 * math.log(0.2) - 0.8 * math.log(0.8)
    assert measure_independent_pixels(train, train // 255, ModelConfig()) == pytest.approx(entropy)


@pytest.mark.parametrize(
    ("likelihood", "below", "above"),
    [("logistic", 8.0, 8.6), ("logistic-mixture", 8.0, 8.3), ("gaussian", -1.0, 0.5)],
)
def test_noise_takes_its_eight_bits(likelihood: Any, below: float, above: float) -> None:
    """Of even noise no fit of 256 levels is shorter than 8 bits, and each is close to that.

    A density per unit has -log2 256 bits less: 0.
    """
    images = draw_images(3000, (1, 2, 6))
    config = ModelConfig(likelihood=likelihood)
    nats = measure_independent_pixels(images, to_unit(draw_images(500, (1, 2, 6), 1)), config)
    assert below < nats / (12 * math.log(2)) < above
