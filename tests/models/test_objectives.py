"""Objectives: identities between bounds, and what is and is not part of a loss."""

import math
from itertools import pairwise

import pytest
import torch

from vae.experiments.settings import ModelConfig, ObjectiveConfig
from vae.models.densities import Densities, bernoulli_log_prob
from vae.models.networks import build_model
from vae.models.objectives import compute_loss, dreg_loss, elbo_loss, iwae_loss

LATENTS = 3


def densities_of(samples: int) -> Densities:
    """Those of an untrained model in float64, for six random images."""
    generator = torch.Generator().manual_seed(0)
    model = build_model(ModelConfig(latent_dim=LATENTS, hidden=(8,)), (1, 4, 4)).double()
    x_BCHW = torch.rand((6, 1, 4, 4), generator=generator, dtype=torch.float64).round()
    eps_KBD = torch.randn((samples, 6, LATENTS), generator=generator, dtype=torch.float64)
    densities: Densities = model(x_BCHW, eps_KBD)
    return densities


def test_beta_weighs_the_rate() -> None:
    """Of many samples the ELBO is the mean log weight; beta adds the rate once more for each 1."""
    densities = densities_of(20_000)
    log_weights_KB = densities.px_KB + densities.pz_KB - densities.qz_KB
    error_B = log_weights_KB.std(0) / math.sqrt(len(log_weights_KB))
    assert ((elbo_loss(densities) + log_weights_KB.mean(0)).abs() < 5 * error_B).all()
    without_B, twice_B = elbo_loss(densities, 0), elbo_loss(densities, 2)
    torch.testing.assert_close(without_B, -densities.px_KB.mean(0))
    torch.testing.assert_close(twice_B - without_B, 2 * (elbo_loss(densities) - without_B))


def test_one_importance_sample_is_the_elbo() -> None:
    """IWAE with K = 1 is log p(x|z) + log p(z) - log q(z|x), whose mean is the ELBO."""
    densities = densities_of(1)
    expected_KB = densities.px_KB + densities.pz_KB - densities.qz_KB
    torch.testing.assert_close(iwae_loss(densities), -expected_KB[0])

    many = densities_of(20_000)
    singles_KB = many.px_KB + many.pz_KB - many.qz_KB
    error_B = (singles_KB - many.px_KB).std(0) / math.sqrt(len(singles_KB))
    assert ((singles_KB.mean(0) + elbo_loss(many)).abs() < 5 * error_B).all()


def test_more_samples_tighten_the_bound() -> None:
    """Averaged over the same draws, the loss never rises when K is multiplied."""
    px_KB, z_KBD, mu_BD, logvar_BD = densities_of(64)
    losses = []
    for k in (1, 2, 4, 16, 64):
        parts = [samples.chunk(64 // k) for samples in (px_KB, z_KBD)]
        group_losses = [
            iwae_loss(Densities(px, z, mu_BD, logvar_BD)) for px, z in zip(*parts, strict=True)
        ]
        losses.append(torch.stack(group_losses).mean(0))
    for looser_B, tighter_B in pairwise(losses):
        assert (tighter_B < looser_B).all()


def test_equal_weights_are_exact() -> None:
    """If every sample weighs the same, however little, the bound is that weight for any K."""
    flat_KB = torch.full((7, 2), -4000.0)
    z_KBD, prior_BD = torch.randn(7, 2, 1), torch.zeros(2, 1)
    densities = Densities(flat_KB, z_KBD, mu_BD=prior_BD, logvar_BD=prior_BD)
    torch.testing.assert_close(iwae_loss(densities), -flat_KB[0])


def test_the_configured_loss() -> None:
    """The configuration picks the objective and hands on the weight."""
    densities = densities_of(3)
    chosen_B = compute_loss(ObjectiveConfig(kind="iwae", samples=3), densities, 1)
    torch.testing.assert_close(chosen_B, iwae_loss(densities))
    weighted_B = compute_loss(ObjectiveConfig(), densities, 0.5)
    torch.testing.assert_close(weighted_B, elbo_loss(densities, 0.5))


def test_the_warm_up_of_the_rate() -> None:
    """Its weight rises in a straight line to beta, and stays; without a warm-up it is beta."""
    config = ObjectiveConfig(beta=0.5, warmup_epochs=4)
    assert [config.beta_at(epochs) for epochs in (0, 1, 2.5, 4, 9)] == [0, 0.125, 0.3125, 0.5, 0.5]
    assert ObjectiveConfig(beta=0.5).beta_at(0) == 0.5


def gradients(kind: str, copies: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of `copies` draws of K = 4 for one image: those of the encoder [copies], of the decoder."""
    generator = torch.Generator().manual_seed(seed)
    model = build_model(ModelConfig(latent_dim=LATENTS, hidden=(8,)), (1, 4, 4)).double()
    image = torch.rand((1, 1, 4, 4), generator=torch.Generator().manual_seed(9)).double().round()
    eps_KBD = torch.randn((4, copies, LATENTS), generator=generator, dtype=torch.float64)
    mu_BD, logvar_BD = (x.expand(copies, -1).clone() for x in model.encode(image))
    statistics = [x.detach().requires_grad_() for x in (mu_BD, logvar_BD)]
    z_KBD = model.reparameterize(statistics[0], statistics[1], eps_KBD)
    logits = model.decode(z_KBD.flatten(0, 1)).view(4, copies, 1, 4, 4)
    px_KB = bernoulli_log_prob(image.expand(copies, -1, -1, -1), logits)
    densities = Densities(px_KB, z_KBD, *statistics)
    compute_loss(ObjectiveConfig(kind=kind, samples=4), densities, 1).sum().backward()  # type: ignore[arg-type, no-untyped-call]
    of_encoder = torch.cat([x.grad for x in statistics if x.grad is not None], dim=1)
    return of_encoder, torch.cat([p.grad.flatten() for p in model.decoder.parameters()])  # type: ignore[union-attr]


def test_the_doubly_reparameterised_gradient() -> None:
    """DReG has IWAE's value and decoder gradient; its encoder's has the mean, with less noise."""
    densities = densities_of(4)
    torch.testing.assert_close(dreg_loss(densities), iwae_loss(densities))
    plain, decoder = gradients("iwae", 20_000, seed=0)
    double, same_decoder = gradients("dreg", 20_000, seed=0)
    torch.testing.assert_close(same_decoder, decoder)
    error = ((plain.var(0) + double.var(0)) / len(plain)).sqrt()
    assert ((plain.mean(0) - double.mean(0)).abs() < 5 * error).all()
    assert double.var(0).sum() < plain.var(0).sum()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "samples is 0, must be at least 1"),
        ({"beta": -1.0}, "beta is -1.0"),
        ({"beta": math.nan}, "beta is nan"),
        ({"kind": "iwae", "beta": 2.0}, "beta is 2.0 .* the iwae objective weighs no rate"),
        ({"kind": "dreg", "warmup_epochs": 1}, "warmup_epochs 1, the dreg objective"),
        ({"warmup_epochs": -1}, "warmup_epochs is -1"),
    ],
)
def test_impossible_objectives(settings: dict[str, object], message: str) -> None:
    """An objective that can't be is refused by what is wrong with it."""
    with pytest.raises(ValueError, match=message):
        ObjectiveConfig(**settings)  # type: ignore[arg-type]
