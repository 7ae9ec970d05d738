"""The linear probe: a minimum, the right answer where it is known, and no peeking."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vae.evaluation.probe import L2, encode_means, measure_probe, train_probe
from vae.experiments.settings import ModelConfig
from vae.models.networks import build_model

CLASSES, D = 4, 5


def latents_of(n: int, spread: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Latents around one centre per class, and their labels; `spread` 0 leaves no doubt."""
    generator = torch.Generator().manual_seed(seed)
    labels_N = torch.arange(n) % CLASSES
    centres_CD = torch.eye(CLASSES, D, dtype=torch.float64)
    noise_ND = torch.randn(n, D, generator=generator, dtype=torch.float64)
    return centres_CD[labels_N] + spread * noise_ND, labels_N


def test_separate_classes_are_told_apart() -> None:
    """Classes far from each other are all told apart, in latents of any scale and place."""
    train_ND, labels_N = latents_of(200, 0.05)
    test_ND, test_labels_N = latents_of(100, 0.05, seed=1)
    accuracies = [
        measure_probe(
            scale * train_ND + shift, labels_N, scale * test_ND + shift, test_labels_N, CLASSES
        )
        for scale, shift in ((1, 0), (1e-3, 50), (1e4, -7))
    ]
    assert accuracies == [1.0, 1.0, 1.0]


def test_two_gaussians_meet_the_best_possible_accuracy() -> None:
    """Two classes 2 m apart at unit noise: no classifier beats Phi(m), and the probe gets there."""
    generator, n = torch.Generator().manual_seed(0), 20_000
    labels_N = torch.arange(2 * n) % 2
    latents_N1 = torch.randn(2 * n, 1, generator=generator, dtype=torch.float64)
    latents_N1 += (2.0 * labels_N - 1)[:, None]
    best = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
    found = measure_probe(latents_N1[:n], labels_N[:n], latents_N1[n:], labels_N[n:], 2)
    assert found == pytest.approx(best, abs=0.008)


def test_the_fit_is_the_minimum() -> None:
    """At the solution the gradient of the penalised negative log-likelihood is 0."""
    latents_ND, labels_N = latents_of(300, 1.0)
    weights_CD, bias_C = (x.requires_grad_() for x in train_probe(latents_ND, labels_N, CLASSES))
    nats = F.cross_entropy(F.linear(latents_ND, weights_CD, bias_C), labels_N)
    loss = nats + 0.5 * L2 * weights_CD.square().sum()
    for gradient in torch.autograd.grad(loss, [weights_CD, bias_C]):
        assert gradient.abs().max() < 1e-5


def test_the_same_latents_give_the_same_bits() -> None:
    """Nothing in the fit is drawn."""
    latents_ND, labels_N = latents_of(300, 1.0)
    first, second = (train_probe(latents_ND, labels_N, CLASSES) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_latents_that_say_nothing_leave_the_commonest_class() -> None:
    """With constant latents every guess is the class that training saw most."""
    train_ND, test_ND = (torch.full((n, D), 0.5, dtype=torch.float64) for n in (10, 4))
    labels_N = torch.tensor([2] * 6 + [0, 1, 3, 3])
    accuracy = measure_probe(train_ND, labels_N, test_ND, torch.tensor([2, 2, 2, 1]), CLASSES)
    assert accuracy == 0.75


def test_test_latents_are_read_for_the_score_alone() -> None:
    """Adding test images changes nothing about the guesses for the others."""
    train_ND, labels_N = latents_of(200, 0.8)
    test_ND, test_labels_N = latents_of(50, 0.8, seed=1)
    alone = measure_probe(train_ND, labels_N, test_ND, test_labels_N, CLASSES)
    wild_ND = torch.cat([test_ND, torch.full((50, D), 1e6, dtype=torch.float64)])
    impossible_N = torch.cat([test_labels_N, torch.full((50,), -1)])
    assert 0 < alone < 1
    assert measure_probe(train_ND, labels_N, wild_ND, impossible_N, CLASSES) == alone / 2


def test_posterior_means_are_those_of_the_encoder() -> None:
    """Means in the order of the images, float64, whatever the number of images."""
    model = build_model(ModelConfig(latent_dim=3, hidden=(8,)), (1, 4, 4))
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(2, (1500, 1, 4, 4), dtype=torch.uint8, generator=generator)
    found_ND = encode_means(model, images)
    with torch.no_grad():
        known_ND, _ = model.encode(images.float())
    assert found_ND.dtype == torch.float64
    torch.testing.assert_close(found_ND, known_ND.double(), rtol=1e-5, atol=1e-6)
