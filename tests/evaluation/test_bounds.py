"""Evaluation: sums that any sharding gives, and the metrics that they make."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.images import draw_images
from tests.support.small_models import PIXELS, SHAPE, model_of, without_latents
from vae.evaluation.bounds import CHUNK_IMAGES, Sums, count_chunks, sum_elbo, sum_likelihood
from vae.experiments.settings import DataConfig, EvaluationConfig, Experiment, ModelConfig
from vae.models.levels import count_at_once
from vae.models.networks import build_model
from vae.models.seeds import derive_seed


@pytest.mark.parametrize("world", [2, 3, 5])
def test_any_sharding_gives_the_same_sums(world: int) -> None:
    """Chunks on any rank, in any number, add up to the evaluation of one process."""
    model, images = model_of(), draw_images(2 * CHUNK_IMAGES + 7, SHAPE, levels=2)
    config, n = EvaluationConfig(samples=3), count_chunks(len(images))
    assert n == 3
    alone = sum_likelihood(model, images, range(n), config)
    together = Sums.zero(model.latent_dim)
    for rank in reversed(range(world)):
        together += sum_likelihood(model, images, range(rank, n, world), config)
    assert together.count == alone.count == len(images)
    torch.testing.assert_close(together.to_tensor(), alone.to_tensor(), rtol=1e-12, atol=1e-12)


def test_large_images_are_taken_in_parts_that_change_nothing() -> None:
    """The noise of each image of a chunk is what it would be if all were taken at once."""
    shape, count = (1, 256, 256), 70
    model = build_model(ModelConfig(latent_dim=2, hidden=(4,)), shape, seed=1).double().eval()
    images = draw_images(count, shape, levels=2)
    assert count_at_once(images.shape, CHUNK_IMAGES) < count
    noise = torch.Generator().manual_seed(derive_seed(5, "evaluate", 0))
    with torch.no_grad():
        mu_BD, logvar_BD = model.encode(images.double())
        eps_BD = torch.empty(mu_BD.shape, dtype=torch.float64).normal_(generator=noise)
        decoded = model.decode(model.reparameterize(mu_BD, logvar_BD, eps_BD))
        log_px = float(model.likelihood.log_prob(images.double(), decoded[None]).sum())
    sums = sum_elbo(model, images, [0], seed=5)
    assert sums.count == count
    assert sums.distortion == pytest.approx(-log_px, rel=1e-12)
    torch.testing.assert_close(sums.mu_D, mu_BD.sum(0))


@pytest.mark.parametrize(
    ("shape", "at_once"),
    [
        ((1, 28, 28), 1000),
        ((3, 64, 64), 1000),
        ((5000, 3, 64, 64), 1000),
        ((3, 512, 512), 20),
        ((3, 4096, 4096), 1),
    ],
)
def test_large_images_are_taken_by_fewer(shape: tuple[int, ...], at_once: int) -> None:
    """No more memory than small ones take, and at least one of them."""
    assert count_at_once(shape, 1000) == at_once


def test_likelihood_extends_the_elbo() -> None:
    """Judging the test split draws the same ELBO as validation does under the same seed."""
    model, images = model_of(), draw_images(30, SHAPE, levels=2)
    config = EvaluationConfig(samples=100, seed=5)
    experiment = Experiment(name="small", evaluation=config)
    elbo = sum_elbo(model, images, [0], seed=5).average_elbo()
    metrics = sum_likelihood(model, images, [0], config).average(experiment, model)
    assert elbo.items() <= metrics.items()
    assert metrics["nll"] < metrics["nelbo"]
    assert metrics["nll_samples"] == 100


def test_metrics_of_a_known_model() -> None:
    """Without latents the rate is 0, no unit is active, and every bound is the exact value."""
    model, images = without_latents(), torch.ones((40, *SHAPE), dtype=torch.uint8)
    config = EvaluationConfig(samples=2)
    experiment = Experiment(name="small", evaluation=config)
    sums = sum_likelihood(model, images, [0], config)
    metrics = sums.average(experiment, model)
    nats = -PIXELS * math.log(0.3)
    expected = {"nelbo": nats, "rate": 0, "distortion": nats, "active_units": 0, "nll": nats}
    expected |= {"nll_samples": 2, "bits_per_dim": -math.log2(0.3)}
    assert metrics == pytest.approx(expected, rel=1e-6)
    grey = replace(experiment, data=DataConfig(binarize="none"))
    assert metrics.keys() - sums.average(grey, model).keys() == {"bits_per_dim"}


@pytest.mark.parametrize(
    ("likelihood", "binarize", "bits"),
    [
        ("bernoulli", "dynamic", True),
        ("bernoulli", "none", False),
        ("logistic", "none", True),
        ("logistic-mixture", "none", True),
        ("gaussian", "none", False),
    ],
)
def test_bits_are_told_of_codes_alone(likelihood: Any, binarize: str, bits: bool) -> None:
    """Neither a density nor the cross-entropy of grey levels is the length of one."""
    assert ModelConfig(likelihood=likelihood).has_bits(binarize) == bits


def sums_of(mu_ND: Tensor) -> Sums:
    n = len(mu_ND)
    return Sums(n, 3.0 * n, 2.0 * n, -4.5 * n, mu_ND.sum(0), mu_ND.square().sum(0), mu_ND.sum(0))


def test_sums_add_and_travel() -> None:
    """Parts add up to the whole, zero adds nothing, and a vector holds all of it."""
    mu_ND = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = sums_of(mu_ND)
    added = sums_of(mu_ND[:2]) + Sums.zero(4) + sums_of(mu_ND[2:])
    torch.testing.assert_close(added.to_tensor(), whole.to_tensor())
    again = Sums.from_tensor(whole.to_tensor())
    assert (again.count, again.distortion, again.rate, again.log_px) == (9, 27.0, 18.0, -40.5)
    assert torch.equal(again.mu_D, whole.mu_D)
    assert torch.equal(again.mu_squared_D, whole.mu_squared_D)


def test_active_units() -> None:
    """A unit is active if its posterior mean varies by more than 0.01 between images."""
    signs_N = torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64)
    deviations_D = torch.tensor([0.0, 0.09, 0.11, 2.0], dtype=torch.float64)
    sums = sums_of(7 + signs_N[:, None] * deviations_D)
    assert sums.average_elbo()["active_units"] == 2


def test_impossible_evaluations() -> None:
    """At least one sample."""
    with pytest.raises(ValueError, match="samples is 0, must be at least 1"):
        EvaluationConfig(samples=0)
