"""Log densities in nats: of Bernoulli pixels, Gaussian latents, and what a model says of a batch.

Shape suffixes: B images, K posterior samples per image, D latent dimensions, P pixels, C, H, W of
an image.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CACHED_ELEMENTS = 1 << 17  # whose few float32 temporaries fit the second-level cache


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
    result: Tensor = BernoulliLogProb.apply(x_BCHW.flatten(1), logits_KBCHW.flatten(2))
    return result


class BernoulliLogProb(torch.autograd.Function):
    """`bernoulli_log_prob_` and its derivative x - sigmoid(l), in one visit of the logits.

    These are the only passes over all pixels beside the matrix products. A block of images goes
    through all of them while it is in the cache, and only the derivative is kept, in the logits'
    type. Sums are at least float32 whatever the logits are.
    """

    @staticmethod
    def forward(ctx: Any, x_BP: Tensor, logits_KBP: Tensor) -> Tensor:
        dtype = torch.promote_types(logits_KBP.dtype, torch.float32)
        result_KB = logits_KBP.new_empty(logits_KBP.shape[:2], dtype=dtype)
        error_KBP = torch.empty_like(logits_KBP)
        for block in blocks_of(logits_KBP):
            x = x_BP[block]
            logits = logits_KBP[:, block].to(dtype, copy=True)
            error_KBP[:, block] = torch.sub(x, torch.sigmoid(logits))
            result_KB[:, block] = bernoulli_log_prob_(x, logits.transpose(0, 1)).T
        ctx.save_for_backward(error_KBP)
        return result_KB

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_KB: Tensor) -> tuple[None, Tensor]:
        (error_KBP,) = ctx.saved_tensors
        return None, error_KBP * grad_KB[..., None].to(error_KBP.dtype)


def bernoulli_log_prob_(x_BP: Tensor, logits_BKP: Tensor) -> Tensor:
    """`bernoulli_log_prob` as [B, K], in float32 or 64, for no gradient; destroys the logits.

    softplus(l) = l / 2 + |l| / 2 - log sigmoid(|l|). The linear part is a scalar product, and
    as sigmoid(|l|) is at least 1/2, one logarithm serves several pixels, multiplied: 8, because the
    product of more takes longer than it saves.
    """
    log_px_BK = scalar_products(x_BP - 0.5, logits_BKP)
    magnitude_BKP = logits_BKP.abs_()
    log_px_BK -= 0.5 * magnitude_BKP.sum(-1)
    pixels = x_BP.shape[1]
    together = math.gcd(pixels, 8)
    grouped = magnitude_BKP.sigmoid_().view(*log_px_BK.shape, together, pixels // together)
    return log_px_BK + grouped.prod(-2).log_().sum(-1)


def scalar_products(x_BP: Tensor, logits_BKP: Tensor) -> Tensor:
    """sum_p x l, [B, K], outside autocast, which would round to bfloat16: by nats, not by bits.

    As a product of matrices it needs no memory of the logits' size; but that is a kernel for each
    image, which takes longer where an image has one sample.
    """
    if logits_BKP.shape[1] == 1:
        return (logits_BKP * x_BP[:, None]).sum(-1)
    with torch.autocast(logits_BKP.device.type, enabled=False):
        return (logits_BKP @ x_BP[..., None]).squeeze(-1)


def blocks_of(logits_KBP: Tensor) -> list[slice]:
    """Slices of B whose logits fit a core's cache; all at once where there is no such cache."""
    samples, images, pixels = logits_KBP.shape
    if logits_KBP.device.type != "cpu":
        return [slice(None)]
    step = max(1, CACHED_ELEMENTS // (samples * pixels))
    return [slice(start, start + step) for start in range(0, images, step)]


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
