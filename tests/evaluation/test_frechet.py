"""The Fréchet distance against closed forms, where rounding bites, and between draws."""

import math

import pytest
import torch
from torch import Tensor

from vae.evaluation.frechet import Gaussian, estimate_gaussian, frechet_distance, take_root

D = 8


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def rotation(seed: int) -> Tensor:
    orthogonal_DD: Tensor = torch.linalg.qr(normal(D, D, seed=seed))[0]
    return orthogonal_DD


@pytest.mark.parametrize("n", [1, 2, D, D + 1, 1000])
def test_identical_sets_are_at_no_distance(n: int) -> None:
    """A set is at 0 from itself and from its own images in another order, even a singular one."""
    features_ND = 30 * normal(n, D) + 7
    assert frechet_distance(estimate_gaussian(features_ND), estimate_gaussian(features_ND)) <= 1e-6
    assert (
        frechet_distance(estimate_gaussian(features_ND), estimate_gaussian(features_ND.flip(0)))
        <= 1e-6
    )


def test_gaussians_with_common_axes_meet_the_closed_form() -> None:
    """Along common axes it is |mean - mean|^2 + sum (deviation - deviation)^2."""
    axes_DD, a_D, b_D = rotation(1), normal(D, seed=2).abs(), normal(D, seed=3).abs()
    mean_a_D, mean_b_D = normal(D, seed=4), normal(D, seed=5)
    a = Gaussian(mean_a_D, axes_DD @ a_D.square().diag() @ axes_DD.T)
    b = Gaussian(mean_b_D, axes_DD @ b_D.square().diag() @ axes_DD.T)
    known = float((mean_a_D - mean_b_D).square().sum() + (a_D - b_D).square().sum())
    assert frechet_distance(a, b) == pytest.approx(known, rel=1e-12)


def test_gaussians_with_other_axes_meet_the_eigenvalues_of_the_product() -> None:
    """The trace of (AB)^1/2 is the sum of the roots of the eigenvalues of AB, A and B regular."""
    a_DD, b_DD = (x @ x.T for x in (normal(D, 2 * D, seed=6), normal(D, 2 * D, seed=7)))
    overlap = torch.linalg.eigvals(a_DD @ b_DD).real.sqrt().sum()
    known = float(a_DD.trace() + b_DD.trace() - 2 * overlap)
    zero_D = torch.zeros(D, dtype=torch.float64)
    a, b = Gaussian(zero_D, a_DD), Gaussian(zero_D, b_DD)
    assert frechet_distance(a, b) == pytest.approx(known, rel=1e-10)
    assert frechet_distance(b, a) == pytest.approx(known, rel=1e-10)


def test_singular_gaussians_meet_the_closed_form() -> None:
    """Two lines at an angle: variances p and q along them give p + q - 2 sqrt(pq) |cos|."""
    along_a_D, along_b_D, zero_D = (torch.zeros(D, dtype=torch.float64) for _ in range(3))
    along_a_D[0] = 1
    along_b_D[:2] = torch.tensor([math.cos(0.7), math.sin(0.7)])
    a = Gaussian(zero_D, 4 * torch.outer(along_a_D, along_a_D))
    b = Gaussian(zero_D, 9 * torch.outer(along_b_D, along_b_D))
    assert frechet_distance(a, b) == pytest.approx(4 + 9 - 12 * math.cos(0.7), rel=1e-7)


def test_rotated_features_are_as_far_apart() -> None:
    """The distance does not depend on the axes of the feature space, and grows as its square."""
    one_ND, other_ND, turn_DD = normal(50, D, seed=8), 2 * normal(70, D, seed=9) + 1, rotation(10)
    apart = frechet_distance(estimate_gaussian(one_ND), estimate_gaussian(other_ND))
    turned = frechet_distance(
        estimate_gaussian(one_ND @ turn_DD), estimate_gaussian(other_ND @ turn_DD)
    )
    assert apart > 1
    assert turned == pytest.approx(apart, rel=1e-10)
    assert frechet_distance(
        estimate_gaussian(3 * one_ND), estimate_gaussian(3 * other_ND)
    ) == pytest.approx(9 * apart, rel=1e-10)


def test_many_draws_of_one_gaussian_are_near() -> None:
    """Two sets of one distribution are at the noise floor, which falls as the sets grow."""
    floors = [
        frechet_distance(estimate_gaussian(normal(n, D)), estimate_gaussian(normal(n, D, seed=1)))
        for n in (50, 500, 5000)
    ]
    assert floors == sorted(floors, reverse=True)
    assert 0 < floors[-1] < 0.02


def test_fitted_is_mean_and_covariance() -> None:
    """Of few float32 features as of many: float64, divided by N; one image has no spread."""
    features_ND = normal(9, D).float()
    found = estimate_gaussian(features_ND)
    known_DD = torch.cov(features_ND.double().T, correction=0)
    torch.testing.assert_close(found.mean_D, features_ND.double().mean(0))
    torch.testing.assert_close(found.covariance_DD, known_DD)
    assert not estimate_gaussian(features_ND[:1]).covariance_DD.any()


def test_root_squares_to_the_covariance() -> None:
    """R R^T is the covariance, singular or not."""
    for rank in (0, 1, 3, D):
        factor_DR = normal(D, rank, seed=rank)
        covariance_DD = factor_DR @ factor_DR.T
        root_DD = take_root(covariance_DD)
        torch.testing.assert_close(root_DD @ root_DD.T, covariance_DD, rtol=1e-12, atol=1e-12)
