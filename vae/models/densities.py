"""Log densities in nats: of Bernoulli pixels, Gaussian latents, and what a model says of a batch.

Shape suffixes: B images, K posterior samples per image, D latent dimensions, P pixels, C, H, W of
an image.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Densities(NamedTuple):
    """What a model says of B images with K posterior samples each; log densities are in nats.

    Every objective and every bound is a function of these, and takes what it needs.
    """

    px_KB: Tensor  # log p(x|z), summed over pixels
    z_KBD: Tensor  # the posterior samples
    mu_BD: Tensor  # of q(z|x)
    logvar_BD: Tensor

    @property
    def pz_KB(self) -> Tensor:
        """log p(z), summed over latents."""
        return standard_normal_log_prob(self.z_KBD)

    @property
    def qz_KB(self) -> Tensor:
        """log q(z|x), summed over latents."""
        return gaussian_log_prob(self.z_KBD, self.mu_BD, self.logvar_BD)

    @property
    def kl_B(self) -> Tensor:
        """KL(q(z|x) || p(z)), in closed form."""
        return gaussian_kl(self.mu_BD, self.logvar_BD)


def bernoulli_log_prob(x_BCHW: Tensor, logits_KBCHW: Tensor) -> Tensor:
    """log p(x|z) in nats, [K, B], summed over pixels; from logits, so that nothing overflows."""
    logits_KBP = promote_to_float32(logits_KBCHW.flatten(2))
    x_KBP = x_BCHW.flatten(1).expand_as(logits_KBP)
    return -F.binary_cross_entropy_with_logits(logits_KBP, x_KBP, reduction="none").sum(-1)


def gaussian_log_prob(z_KBD: Tensor, mu_BD: Tensor, logvar_BD: Tensor) -> Tensor:
    """log N(z; mu, sigma^2) in nats, [K, B], summed over latents."""
    standard = (z_KBD - mu_BD) * torch.exp(-0.5 * logvar_BD)
    return standard_normal_log_prob(standard) - 0.5 * logvar_BD.sum(-1)


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """log N(z; 0, I) in nats, summed over the last dimension."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))


def gaussian_kl(mu_BD: Tensor, logvar_BD: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, I)) in nats, [B], in closed form."""
    return gaussian_kl_BD(mu_BD, logvar_BD).sum(-1)


def gaussian_kl_BD(mu_BD: Tensor, logvar_BD: Tensor) -> Tensor:
    """The same of each latent, [B, D]."""
    return 0.5 * (mu_BD.square() + logvar_BD.exp() - 1 - logvar_BD)


def promote_to_float32(x: Tensor) -> Tensor:
    """Leave bfloat16 before any density is summed; float64 stays float64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
