"""The scale of pixels: what is measured of a set, however much of it is taken at once."""

import torch

from vae.models.levels import FLOATS, measure_mean_level


def test_a_mean_image_rounds_as_that_of_all_images_at_once() -> None:
    """Of a set that is no whole number of floats in memory; published weights begin with it."""
    images = torch.arange(256, dtype=torch.uint8).repeat(FLOATS // 200)
    images = images[: len(images) // 48 * 48].view(-1, 3, 4, 4)
    assert images.numel() > FLOATS
    assert torch.equal(measure_mean_level(images), images.float().mean(0))
