"""What training minimises: functions of log densities, each [B], in nats per image."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vae.models.densities import Densities, gaussian_log_prob


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Which bound is trained on, and with how many posterior samples per image."""

    kind: Literal["elbo", "iwae", "dreg"] = "elbo"
    samples: int = 1
    beta: float = 1.0  # weight of the rate in the ELBO's loss; never part of a bound
    warmup_epochs: int = 0  # over which that weight rises linearly from 0 to beta

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples is {self.samples}, must be at least 1")
        if self.warmup_epochs < 0:
            raise ValueError(f"warmup_epochs is {self.warmup_epochs}, must be 0 (off) or above")
        if not 0 <= self.beta < math.inf:
            raise ValueError(f"beta is {self.beta}, must be a finite number from 0")
        if self.weighs_samples and (self.beta != 1 or self.warmup_epochs):
            raise ValueError(
                f"beta is {self.beta} and warmup_epochs {self.warmup_epochs}, the {self.kind} "
                "objective weighs no rate: must be 1 and 0"
            )

    @property
    def weighs_samples(self) -> bool:
        """Whether the bound is the importance-weighted one, tighter with every sample."""
        return self.kind != "elbo"

    def beta_at(self, epochs: float) -> float:
        """The weight of the rate after so many epochs, a fraction in mid-epoch."""
        if epochs >= self.warmup_epochs:
            return self.beta
        return self.beta * epochs / self.warmup_epochs


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


def loss_of(config: ObjectiveConfig, densities: Densities, beta: float | Tensor) -> Tensor:
    """The configured objective; `beta` weighs the ELBO's rate."""
    if config.kind == "elbo":
        return elbo_loss(densities, beta)
    return {"iwae": iwae_loss, "dreg": dreg_loss}[config.kind](densities)
