"""Pixels that are 0 or 1."""

import torch
from torch import Tensor

from vae.models.densities import bernoulli_log_prob, promote_to_float32
from vae.models.levels import Moments
from vae.models.likelihoods.base import Likelihood, draw_uniform

EPS = 1e-3  # no pixel starts certain


class Bernoulli(Likelihood):
    """Binarised pixels, from one logit each; of a level between 0 and 1, its cross-entropy."""

    def __init__(self, colours: int) -> None:
        super().__init__()
        self.outputs = colours

    def log_prob(self, x_BCHW: Tensor, decoded_KBOHW: Tensor) -> Tensor:
        return bernoulli_log_prob(x_BCHW, decoded_KBOHW)

    def mean(self, decoded_NOHW: Tensor) -> Tensor:
        return torch.sigmoid(decoded_NOHW)

    def draw(self, decoded_NOHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        probability = self.mean(promote_to_float32(decoded_NOHW.detach()))
        return (draw_uniform(probability, generator) < probability).to(probability.dtype)

    def start(self, moments: Moments) -> Tensor:
        return torch.logit(moments.mean_CHW, eps=EPS)
