"""Models: images in, log densities in nats out; and a model in a folder."""

from vae.models.networks import VAE
from vae.models.saved_model import load_model

__all__ = ["VAE", "load_model"]
