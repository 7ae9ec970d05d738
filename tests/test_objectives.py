"""Objectives: identities between bounds, and what is and is not part of a loss."""

import math
from itertools import pairwise

import pytest
import torch

from vae.models import Densities, ModelConfig, build_model
from vae.objectives import ObjectiveConfig, elbo, iwae, terms

LATENTS = 3


def densities_of(samples: int) -> Densities:
    """Those of an untrained model in float64, for six random images."""
    generator = torch.Generator().manual_seed(0)
    model = build_model(ModelConfig(latent_dim=LATENTS, hidden=(8,)), (1, 4, 4)).double()
    x_BCHW = torch.rand((6, 1, 4, 4), generator=generator, dtype=torch.float64).round()
    eps_KBD = torch.randn((samples, 6, LATENTS), generator=generator, dtype=torch.float64)
    densities: Densities = model(x_BCHW, eps_KBD)
    return densities


def test_elbo_parts() -> None:
    """The bound is minus rate and distortion at any beta; only the loss weighs the rate."""
    densities = densities_of(2)
    plain, weighted = elbo(densities), elbo(densities, beta=4)
    torch.testing.assert_close(plain.loss_B, -plain.bound_B)
    torch.testing.assert_close(plain.bound_B, -(plain.rate_B + plain.distortion_B))
    torch.testing.assert_close(weighted.loss_B, plain.loss_B + 3 * plain.rate_B)
    torch.testing.assert_close(weighted.bound_B, plain.bound_B)
    torch.testing.assert_close(plain.distortion_B, -densities.px_KB.mean(0))


def test_one_importance_sample_is_the_elbo() -> None:
    """IWAE with K = 1 is log p(x|z) + log p(z) - log q(z|x), whose mean is the ELBO."""
    densities = densities_of(1)
    bound_B = iwae(densities).bound_B
    expected_KB = densities.px_KB + densities.pz_KB - densities.qz_KB
    torch.testing.assert_close(bound_B, expected_KB[0])

    many = densities_of(20_000)
    singles_KB = many.px_KB + many.pz_KB - many.qz_KB
    error_B = (singles_KB - many.px_KB).std(0) / math.sqrt(len(singles_KB))
    assert ((singles_KB.mean(0) - elbo(many).bound_B).abs() < 5 * error_B).all()


def test_more_samples_tighten_the_bound() -> None:
    """Averaged over the same draws, the bound never falls when K is multiplied."""
    px_KB, pz_KB, qz_KB, kl_B = densities_of(64)
    bounds = []
    for k in (1, 2, 4, 16, 64):
        parts = [part_KB.chunk(64 // k) for part_KB in (px_KB, pz_KB, qz_KB)]
        group_bounds = [
            iwae(Densities(px, pz, qz, kl_B)).bound_B for px, pz, qz in zip(*parts, strict=True)
        ]
        bounds.append(torch.stack(group_bounds).mean(0))
    for looser_B, tighter_B in pairwise(bounds):
        assert (tighter_B > looser_B).all()


def test_equal_weights_are_exact() -> None:
    """If every sample weighs the same, however little, the bound is that weight for any K."""
    flat_KB = torch.full((7, 2), -4000.0)
    densities = Densities(flat_KB, torch.zeros(7, 2), torch.zeros(7, 2), torch.zeros(2))
    torch.testing.assert_close(iwae(densities).bound_B, flat_KB[0])


def test_configured_terms() -> None:
    """The configuration picks the objective and hands on its beta."""
    densities = densities_of(3)
    chosen = terms(ObjectiveConfig(kind="iwae", samples=3), densities)
    torch.testing.assert_close(chosen.loss_B, iwae(densities).loss_B)
    torch.testing.assert_close(chosen.loss_B, -chosen.bound_B)
    weighted = terms(ObjectiveConfig(beta=0.5), densities)
    torch.testing.assert_close(weighted.loss_B, elbo(densities, 0.5).loss_B)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "samples is 0, must be at least 1"),
        ({"beta": -1.0}, "beta is -1.0"),
        ({"beta": math.nan}, "beta is nan"),
        ({"kind": "iwae", "beta": 2.0}, "iwae objective has none"),
    ],
)
def test_impossible_objectives(settings: dict[str, object], message: str) -> None:
    """An objective that can't be is refused by what is wrong with it."""
    with pytest.raises(ValueError, match=message):
        ObjectiveConfig(**settings)  # type: ignore[arg-type]
