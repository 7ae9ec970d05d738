"""What training minimises: functions of log densities, each [B], in nats per image."""

import math

import torch
from torch import Tensor

from vae.experiments.settings import ObjectiveConfig
from vae.models.densities import Densities, gaussian_log_prob


def elbo_loss(densities: Densities, beta: float | Tensor = 1.0) -> Tensor:
    """Negative evidence lower bound, with the closed-form KL: distortion + beta * rate.

    Kingma & Welling 2014, arXiv:1312.6114; beta of Higgins et al. 2017.
    """
    return beta * densities.kl_B - densities.px_KB.mean(0)


def iwae_loss(densities: Densities) -> Tensor:
    """Negative K-sample importance-weighted bound.

    Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519. With K = 1 it is a single-sample
    estimate of the negative ELBO.
    """
    return -log_mean_weight(densities.px_KB + densities.pz_KB - densities.qz_KB)


def dreg_loss(densities: Densities) -> Tensor:
    """As `iwae_loss`, with the doubly reparameterised gradient for the encoder.

    Tucker et al. 2019, arXiv:1810.04152: the encoder learns through the samples alone, each with
    its normalised weight squared, which keeps its gradient from drowning in noise as K grows.
    """
    z_KBD = densities.z_KBD
    qz_KB = gaussian_log_prob(z_KBD, densities.mu_BD.detach(), densities.logvar_BD.detach())
    log_weights_KB = densities.px_KB + densities.pz_KB - qz_KB
    weights_KB = torch.softmax(log_weights_KB.detach(), dim=0)
    if z_KBD.requires_grad:
        z_KBD.register_hook(lambda g: g * weights_KB[..., None])  # type: ignore[no-untyped-call]
    surrogate_B = -(weights_KB * log_weights_KB).sum(0)
    bound_B = log_mean_weight(log_weights_KB.detach())
    return surrogate_B - surrogate_B.detach() - bound_B  # the bound's value, this gradient


def log_mean_weight(log_weights_KB: Tensor) -> Tensor:
    """log 1/K sum_k w_k, [B] in nats."""
    return torch.logsumexp(log_weights_KB, dim=0) - math.log(len(log_weights_KB))


def compute_loss(config: ObjectiveConfig, densities: Densities, beta: float | Tensor) -> Tensor:
    """The configured objective; `beta` weighs the ELBO's rate."""
    if config.kind == "elbo":
        return elbo_loss(densities, beta)
    return {"iwae": iwae_loss, "dreg": dreg_loss}[config.kind](densities)
