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
    logits_KBP = at_least_float32(logits_KBCHW.flatten(2))
    x_KBP = x_BCHW.flatten(1).expand_as(logits_KBP)
    return -F.binary_cross_entropy_with_logits(logits_KBP, x_KBP, reduction="none").sum(-1)


def likelier(x_BP: Tensor) -> tuple[Tensor, Tensor]:
    """Of each pixel, [B, P]: the sign by which its logit is a margin, and how grey it is, 0 to 0.5.

    The margin is the logit of the pixel's other value, 0 or 1, than the one it is nearer to.
    """
    nearer_BP = (x_BP >= 0.5).to(x_BP.dtype)
    return 1 - 2 * nearer_BP, (x_BP - nearer_BP).abs_()


def margins_log_prob_(grey_BP: Tensor, margin_BKP: Tensor, bias_BP: Tensor | None = None) -> Tensor:
    """`bernoulli_log_prob` as [B, K], for no gradient, with few logarithms; destroys the margins.

    A value whose margin is m + b has probability 1 / (1 + exp(b) exp(m)); b may be left out. One
    logarithm serves the product of 8 such pixels; one of more takes longer than it saves. A grey
    pixel adds the margin by as much as it is grey. Not finite where 8 pixels together are less
    likely than the type's smallest number, exp(-88) in float32.
    """
    log_px_BK = torch.zeros_like(margin_BKP[..., 0])
    if grey_BP.any():
        log_px_BK += (margin_BKP @ grey_BP[..., None]).squeeze(-1)
        if bias_BP is not None:
            log_px_BK += (bias_BP * grey_BP).sum(-1, keepdim=True)
    inverse_BKP = margin_BKP.exp_()
    if bias_BP is None:
        inverse_BKP.add_(1)
    else:
        torch.addcmul(grey_BP.new_ones(1), inverse_BKP, bias_BP.exp()[:, None], out=inverse_BKP)
    pixels = grey_BP.shape[1]
    together = math.gcd(pixels, 8)
    grouped = inverse_BKP.view(*margin_BKP.shape[:2], together, pixels // together)
    return log_px_BK.sub_(grouped.prod(-2).log_().sum(-1))


def gaussian_log_prob(z_KBD: Tensor, mu_BD: Tensor, logvar_BD: Tensor) -> Tensor:
    """log N(z; mu, sigma^2) in nats, [K, B], summed over latents."""
    standard = (z_KBD - mu_BD) * torch.exp(-0.5 * logvar_BD)
    return standard_normal_log_prob(standard) - 0.5 * logvar_BD.sum(-1)


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """log N(z; 0, I) in nats, summed over the last dimension."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))


def gaussian_kl(mu_BD: Tensor, logvar_BD: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, I)) in nats, [B], in closed form."""
    return 0.5 * (mu_BD.square() + logvar_BD.exp() - 1 - logvar_BD).sum(-1)


def at_least_float32(x: Tensor) -> Tensor:
    """Leave bfloat16 before any density is summed; float64 stays float64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
