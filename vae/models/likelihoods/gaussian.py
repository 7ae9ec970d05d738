"""Pixels as real numbers around the decoder's, with one learned standard deviation."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae.models.densities import promote_to_float32
from vae.models.levels import Moments
from vae.models.likelihoods.base import Likelihood

LEAST_LOG_SIGMA = -6.0  # 0.6 of a level: a density of levels grows without end as sigma falls


class Gaussian(Likelihood):
    """The mean squared error as a density, per unit of [0, 1]; sigma weighs it against the rate.

    Sigma-VAE, Rybkin et al. 2021, arXiv:2006.13202: sigma is shared by all pixels, and best where
    it is the root of the mean squared error. It is learned towards that: their closed form over a
    batch would make an image's density depend on the others of its batch.
    """

    def __init__(self, colours: int) -> None:
        super().__init__()
        self.outputs = colours
        self.raw_log_sigma = nn.Parameter(torch.zeros(1))

    @property
    def log_sigma(self) -> Tensor:
        """[1], above LEAST_LOG_SIGMA."""
        return LEAST_LOG_SIGMA + F.softplus(self.raw_log_sigma - LEAST_LOG_SIGMA)

    def log_prob(self, x_BCHW: Tensor, decoded_KBOHW: Tensor) -> Tensor:
        log_sigma = promote_to_float32(self.log_sigma)
        standard = (x_BCHW - promote_to_float32(decoded_KBOHW)) * torch.exp(-log_sigma)
        normaliser = log_sigma + 0.5 * math.log(2 * math.pi)
        return (-0.5 * standard.square() - normaliser).sum((2, 3, 4))

    def mean(self, decoded_NOHW: Tensor) -> Tensor:
        return decoded_NOHW.clamp(0, 1)

    def draw(self, decoded_NOHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        mean = promote_to_float32(decoded_NOHW.detach())
        device = mean.device if generator is None else generator.device
        noise = torch.randn(mean.shape, dtype=mean.dtype, device=device, generator=generator)
        return (mean + self.log_sigma.detach().exp() * noise.to(mean.device)).clamp(0, 1)

    @torch.no_grad()
    def start(self, moments: Moments) -> Tensor:
        sigma = moments.deviation_CHW.square().mean().sqrt()
        above = (sigma.log() - LEAST_LOG_SIGMA).clamp_min(1e-2)
        self.raw_log_sigma.copy_(LEAST_LOG_SIGMA + above + torch.log(-torch.expm1(-above)))
        return moments.mean_CHW
