"""The importance-weighted bound: a decoder in blocks, and what each block says of the images.

Shape suffixes as in `vae.models.networks`; P are the pixels of an image, C * H * W.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vae.models.bernoulli_bound import make_bernoulli_log_prob
from vae.models.likelihoods import Bernoulli
from vae.models.networks import VAE

CPU_BLOCK_BYTES = 2**21  # decoded at once, for each thread: its core's second-level cache
DEVICE_BLOCK_BYTES = 2**25  # enough for a GPU; features of convolutions take many times as much


def choose_block(model: VAE, x_BCHW: Tensor) -> int:
    """How many latent vectors to decode at once: what that gives fills the caches, or a device."""
    cpu_bytes = CPU_BLOCK_BYTES * torch.get_num_threads()
    size_bytes = cpu_bytes if x_BCHW.device.type == "cpu" else DEVICE_BLOCK_BYTES
    return max(1, size_bytes // (math.prod(model.decoded_shape) * x_BCHW.element_size()))


@torch.no_grad()
def importance_bound(
    model: VAE,
    x_BCHW: Tensor,
    mu_BD: Tensor,
    logvar_BD: Tensor,
    noise: torch.Generator,
    *,
    samples: int,
    block: int,
) -> Tensor:
    """log 1/K sum_k p(x, z_k) / q(z_k|x), [B] in nats (Burda et al. 2016, arXiv:1509.00519).

    `mu_BD`, `logvar_BD`: what the encoder made of the images, once. The decoder takes `block`
    latent vectors at a time, of as few images as fill it, which changes no more than rounding:
    every image draws its K * D numbers from `noise` in its turn. These and its K weights are kept,
    and nothing decoded beyond a block.
    """
    at_once = max(1, block // samples)
    each = (x_BCHW.flatten(1), mu_BD[:, None], logvar_BD[:, None])
    parts = zip(*(torch.split(whole, at_once) for whole in each), strict=True)
    sums = [
        log_sum_weights(model, x_BP, mu_B1D, logvar_B1D, noise, samples, block)
        for x_BP, mu_B1D, logvar_B1D in parts
    ]
    return torch.cat(sums) - math.log(samples)


def log_sum_weights(
    model: VAE,
    x_BP: Tensor,
    mu_B1D: Tensor,
    logvar_B1D: Tensor,
    noise: torch.Generator,
    samples: int,
    block: int,
) -> Tensor:
    """log sum_k p(x, z_k) / q(z_k|x), [B] in nats, for a few images at once."""
    n_images, _, latent_dim = mu_B1D.shape
    eps_BKD = mu_B1D.new_empty((n_images, samples, latent_dim))
    for eps_KD in eps_BKD:
        eps_KD.normal_(generator=noise)
    z_BKD = model.reparameterize(mu_B1D, logvar_B1D, eps_BKD)
    log_pz_over_qz_BK = (eps_BKD.square() - z_BKD.square()).sum(-1) + logvar_B1D.sum(-1)
    log_weights_BK = 0.5 * log_pz_over_qz_BK
    log_prob = make_log_prob(model, x_BP)
    n_blocks = -(-samples * n_images // block)
    for z_BkD, log_weights_Bk in zip(
        z_BKD.chunk(n_blocks, dim=1), log_weights_BK.chunk(n_blocks, dim=1), strict=True
    ):
        log_weights_Bk += log_prob(z_BkD)
    return torch.logsumexp(log_weights_BK, dim=1)


def make_log_prob(model: VAE, x_BP: Tensor) -> Callable[[Tensor], Tensor]:
    """Make the function from latents [B, K, D] to log p(x|z), [B, K] in nats, for these images."""
    if isinstance(model.likelihood, Bernoulli):
        return make_bernoulli_log_prob(model, x_BP)
    x_BCHW = x_BP.reshape(len(x_BP), *model.shape)

    def log_prob(z_BKD: Tensor) -> Tensor:
        decoded = model.decode(z_BKD.transpose(0, 1).flatten(0, 1))
        each = decoded.reshape(-1, len(x_BP), *model.decoded_shape)
        return model.likelihood.log_prob(x_BCHW, each).T

    return log_prob
