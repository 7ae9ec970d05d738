"""What needs no model: images of which every pixel is independent of the others."""

import torch

from vae.experiments.settings import ModelConfig
from vae.models.levels import Images, measure_moments, split
from vae.models.likelihoods import build_likelihood


@torch.no_grad()
def measure_independent_pixels(train_NCHW: Images, seen_NCHW: Images, config: ModelConfig) -> float:
    """Mean -log p(x), nats per image, of the likelihood alone, fitted to each training pixel.

    It is what a model with this likelihood starts from. `train_NCHW`: uint8. `seen_NCHW`: an
    evaluation split as a model sees it, pixels in [0, 1].
    """
    likelihood = build_likelihood(config, train_NCHW.shape[1])
    decoded_OHW = likelihood.start(measure_moments(train_NCHW)).double()
    likelihood.double()
    total = 0.0
    for part in split(seen_NCHW, 100):
        decoded = decoded_OHW.expand(1, len(part), *decoded_OHW.shape)
        total += float(likelihood.log_prob(part.double(), decoded).sum())
    return -total / len(seen_NCHW)
