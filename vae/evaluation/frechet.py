"""How far apart two sets of images are: the Fréchet distance of Gaussians fitted to features.

Heusel et al. 2017, arXiv:1706.08500, with the features of `vae.evaluation.classifier` in place of
Inception's, so values compare between models of one dataset and not with published ones.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """Mean [D] and covariance [D, D] of a set of features, float64."""

    mean_D: Tensor
    covariance_DD: Tensor


def estimate_gaussian(features_ND: Tensor) -> Gaussian:
    """The Gaussian of greatest likelihood: its covariance is divided by N, so one image has one.

    With at most D images the covariance is singular, which `frechet_distance` takes.
    """
    features_ND = features_ND.double()
    mean_D = features_ND.mean(0)
    centred_ND = features_ND - mean_D
    return Gaussian(mean_D, centred_ND.T @ centred_ND / len(features_ND))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (AB)^1/2), squared units of the features, at least 0.

    With A = R R^T and B = S S^T the trace of (AB)^1/2 is the sum of the singular values of R^T S.
    The square root of an eigenvalue of AB that rounding has moved off 0 would cost half the digits.
    """
    overlap = torch.linalg.svdvals(take_root(a.covariance_DD).T @ take_root(b.covariance_DD)).sum()
    spread = a.covariance_DD.trace() + b.covariance_DD.trace() - 2 * overlap
    squared = (a.mean_D - b.mean_D).square().sum() + spread
    return float(squared.clamp_min(0))  # of equal Gaussians rounding may leave -1e-14


def take_root(covariance_DD: Tensor) -> Tensor:
    """R with R R^T = the covariance, from its symmetric eigendecomposition."""
    variance_D, axes_DD = torch.linalg.eigh(covariance_DD)
    # Where a covariance is singular, rounding leaves eigenvalues on either side of 0.
    rounding = variance_D[-1] * len(variance_D) * torch.finfo(variance_D.dtype).eps
    root_DD: Tensor = axes_DD * torch.where(variance_D > rounding, variance_D, 0).sqrt()
    return root_DD
