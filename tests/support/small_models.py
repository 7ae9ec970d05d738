"""Models of a few pixels, in float64, whose likelihoods can be known."""

from typing import Any

import torch

from vae.experiments.settings import ModelConfig
from vae.models.levels import Moments
from vae.models.networks import VAE, build_model

SHAPE = (1, 4, 4)
PIXELS = 16


def even_moments(shape: tuple[int, int, int]) -> Moments:
    """Every pixel is 1 with probability 0.3, else 0."""
    return Moments(torch.full(shape, 0.3), torch.full(shape, 0.3))


def model_of(latent_dim: int = 2, seed: int = 0) -> VAE:
    """Dense both ways."""
    config = ModelConfig(latent_dim=latent_dim, hidden=(8,), activation="tanh")
    return build_model(config, SHAPE, even_moments(SHAPE), seed).double()


def colour_model(likelihood: Any = "bernoulli") -> VAE:
    """Convolutional, of three colours."""
    config = ModelConfig(
        kind="ConvVAE", latent_dim=2, hidden=(8,), channels=(2, 3), likelihood=likelihood
    )
    return build_model(config, (3, 4, 4), even_moments((3, 4, 4))).double()


@torch.no_grad()
def without_latents() -> VAE:
    """A model whose pixels ignore z and whose posterior is the prior: log p(x) is known."""
    model = model_of()
    for parameter in [*model.encoder.parameters(), *list(model.decoder.parameters())[:-1]]:
        parameter.zero_()
    return model
