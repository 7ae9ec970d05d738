"""What training minimises and what is compared: functions of log densities, in nats per image."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vae.models import Densities


class Terms(NamedTuple):
    """Per image, each [B], in nats."""

    loss_B: Tensor  # what training minimises
    bound_B: Tensor  # lower bound on log p(x) at beta = 1: the only number ever compared
    rate_B: Tensor  # KL(q(z|x) || p(z)), closed form
    distortion_B: Tensor  # -log p(x|z), mean over the K samples


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Which bound is trained on, and with how many posterior samples per image."""

    kind: Literal["elbo", "iwae"] = "elbo"
    samples: int = 1
    beta: float = 1.0  # weight of the rate in the ELBO's loss; never part of a bound

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples is {self.samples}, must be at least 1")
        if not 0 <= self.beta < math.inf:
            raise ValueError(f"beta is {self.beta}, must be a finite number from 0")
        if self.kind == "iwae" and self.beta != 1:
            raise ValueError(f"beta is {self.beta}, the iwae objective has none: must be 1")


def elbo(densities: Densities, beta: float = 1.0) -> Terms:
    """Evidence lower bound with the closed-form KL; loss = distortion + beta * rate.

    Kingma & Welling 2014, arXiv:1312.6114; beta of Higgins et al. 2017.
    """
    distortion_B = -densities.px_KB.mean(0)
    rate_B = densities.kl_B
    bound_B = -(distortion_B + rate_B)
    return Terms(distortion_B + beta * rate_B, bound_B, rate_B, distortion_B)


def iwae(densities: Densities) -> Terms:
    """K-sample importance-weighted bound; the loss is its negative.

    Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519. With K = 1 it is a single-sample
    estimate of the ELBO.
    """
    log_weights_KB = densities.px_KB + densities.pz_KB - densities.qz_KB
    bound_B = torch.logsumexp(log_weights_KB, dim=0) - math.log(len(log_weights_KB))
    return Terms(-bound_B, bound_B, densities.kl_B, -densities.px_KB.mean(0))


def terms(config: ObjectiveConfig, densities: Densities) -> Terms:
    """The configured objective's terms."""
    if config.kind == "iwae":
        return iwae(densities)
    return elbo(densities, config.beta)
