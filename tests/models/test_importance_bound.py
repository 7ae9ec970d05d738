"""The importance-weighted bound against exact log-likelihoods, and its quick density."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.support.images import draw_images
from tests.support.small_models import (
    PIXELS,
    SHAPE,
    colour_model,
    model_of,
    without_latents,
)
from vae.evaluation.bounds import sum_elbo
from vae.models.bernoulli_bound import margins_log_prob_, split_signs
from vae.models.densities import (
    bernoulli_log_prob,
    gaussian_kl,
    standard_normal_log_prob,
)
from vae.models.importance_bound import importance_bound
from vae.models.networks import VAE


def bound(model: VAE, x_BCHW: Tensor, samples: int, block: int = 20_000, seed: int = 0) -> Tensor:
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        statistics = model.encode(x_BCHW)
    return importance_bound(model, x_BCHW, *statistics, noise, samples=samples, block=block)


@torch.no_grad()
def by_quadrature(model: VAE, x_BCHW: Tensor) -> Tensor:
    """log p(x), [B], of a model with one latent: the integral of p(x|z) p(z) over a fine grid."""
    z_N1 = torch.linspace(-12, 12, 2_001, dtype=torch.float64)[:, None]
    log_pz_N = standard_normal_log_prob(z_N1)
    logits = model.decode(z_N1)[:, None]
    rows = [
        torch.logsumexp(bernoulli_log_prob(x[None], logits)[:, 0] + log_pz_N, dim=0) for x in x_BCHW
    ]
    return torch.stack(rows) + math.log(24 / 2_000)


@pytest.mark.parametrize(("samples", "block"), [(1, 1), (7, 2048), (40, 64), (100, 1)])
def test_bound_without_latents_is_exact(samples: int, block: int) -> None:
    """Where z says nothing the bound is log p(x) for any K, in blocks of any size."""
    model, x_BCHW = without_latents(), draw_images(10, SHAPE, levels=2).double()
    known_B = x_BCHW.flatten(1).sum(1) * math.log(0.3) + (1 - x_BCHW).flatten(1).sum(1) * math.log(
        0.7
    )
    found_B = bound(model, x_BCHW, samples, block)
    torch.testing.assert_close(found_B, known_B, rtol=1e-6, atol=0)


def test_bound_meets_the_integral() -> None:
    """With one latent the bound for many samples is log p(x) by quadrature; for one it is below."""
    model, x_BCHW = model_of(latent_dim=1), draw_images(4, SHAPE, levels=2).double()
    exact_B = by_quadrature(model, x_BCHW)
    many_B = bound(model, x_BCHW, samples=20_000)
    assert (many_B - exact_B).abs().max() < 0.02
    sums = sum_elbo(model, x_BCHW, [0], seed=0)
    assert -sums.average_elbo()["nelbo"] < exact_B.mean()


def test_bound_gets_tighter() -> None:
    """Over many images more samples raise the bound, up to log p(x)."""
    model, x_BCHW = model_of(latent_dim=1), draw_images(40, SHAPE, levels=2).double()
    means = [bound(model, x_BCHW, k).mean().item() for k in (1, 10, 2000)]
    assert means == sorted(means)
    assert means[-1] == pytest.approx(by_quadrature(model, x_BCHW).mean().item(), abs=0.02)


@torch.no_grad()
def test_one_sample_is_the_elbo_on_average() -> None:
    """With K = 1 the bound's mean over noise is the ELBO: integrated over q, with the exact KL."""
    model, x_BCHW = model_of(latent_dim=1), draw_images(1, SHAPE, levels=2).double()
    mu_BD, logvar_BD = model.encode(x_BCHW)
    eps_N11 = torch.linspace(-8, 8, 2_001, dtype=torch.float64)[:, None, None]
    logits = model.decode(model.reparameterize(mu_BD, logvar_BD, eps_N11)[:, 0])[:, None]
    density_N = standard_normal_log_prob(eps_N11).exp()[:, 0] * (16 / 2_000)
    reconstruction = (density_N * bernoulli_log_prob(x_BCHW, logits)[:, 0]).sum()
    elbo = reconstruction - gaussian_kl(mu_BD, logvar_BD)[0]
    draws_N = bound(model, x_BCHW.expand(20_000, *SHAPE), samples=1)
    assert abs(draws_N.mean() - elbo) < 4 * draws_N.std() / math.sqrt(20_000)


@pytest.mark.parametrize(
    "model",
    [model_of(), colour_model(), colour_model("logistic-mixture")],
    ids=lambda model: f"{model.config.kind} {model.config.likelihood}",
)
@pytest.mark.parametrize("block", [1, 7, 64])
def test_blocks_change_nothing(model: VAE, block: int) -> None:
    """One latent vector, a part of an image, a few images or all at once: the same bound."""
    grey_BCHW = torch.rand((9, *model.shape), generator=torch.Generator().manual_seed(1)).double()
    at_once_B = bound(model, grey_BCHW, samples=20, block=9 * 20)
    blocked_B = bound(model, grey_BCHW, samples=20, block=block)
    torch.testing.assert_close(blocked_B, at_once_B, rtol=1e-12, atol=0)
    assert not torch.equal(bound(model, grey_BCHW, samples=20, seed=1), at_once_B)


@torch.no_grad()
@pytest.mark.parametrize(
    "network",
    [
        model_of,
        *(partial(colour_model, kind) for kind in ("bernoulli", "logistic", "gaussian")),
    ],
)
@pytest.mark.parametrize("scale", [1, 1e4])
def test_bound_is_the_mean_of_the_weights(network: Callable[[], VAE], scale: float) -> None:
    """On the noise that each image draws in its turn, it is log mean p(x, z) / q(z|x).

    Also where pixels are less likely than the quick density has numbers for.
    """
    model, seeded = network(), torch.Generator().manual_seed(1)
    *_, weight, bias = model.decoder.parameters()
    weight.mul_(scale)
    bias.normal_(generator=seeded).mul_(scale)
    x_BCHW = torch.rand((4, *model.shape), generator=seeded, dtype=torch.float64)
    noise = torch.Generator().manual_seed(0)
    eps_BKD = torch.stack(
        [torch.randn((20, 2), generator=noise, dtype=torch.float64) for _ in range(4)]
    )
    densities = model(x_BCHW, eps_BKD.transpose(0, 1))
    log_weights_KB = densities.px_KB + densities.pz_KB - densities.qz_KB
    expected_B = torch.logsumexp(log_weights_KB, dim=0) - math.log(20)
    torch.testing.assert_close(bound(model, x_BCHW, samples=20, block=8), expected_B)


@pytest.mark.parametrize("bias", [-88.0, 88.0])
def test_a_bias_beyond_the_types_exponents(bias: float) -> None:
    """Where exp(b) or exp(m) is 0, as denormals are in a worker, b + m is what counts."""
    model = without_latents().float()
    *_, output = model.decoder.children()
    assert isinstance(output, nn.Linear)
    with torch.no_grad():
        list(model.decoder.parameters())[1].fill_(20.0)  # of the hidden layer: its tanh is 1
        output.weight.fill_(-(bias + math.copysign(2, bias)) / output.in_features)
        output.bias.fill_(bias)
    ones_BCHW = torch.full((1, *SHAPE), float(bias < 0))
    known = PIXELS * math.log(torch.sigmoid(torch.tensor(2.0)))
    torch.set_flush_denormal(True)
    try:
        found_B = bound(model, ones_BCHW, samples=3, block=2)
    finally:
        torch.set_flush_denormal(False)
    assert found_B.item() == pytest.approx(known, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("pixels", [1, 49, 784, 3072])
@pytest.mark.parametrize("scale", [0, 3, 1e4])
@pytest.mark.parametrize("biased", [False, True])
def test_density_of_a_block(dtype: torch.dtype, pixels: int, scale: float, biased: bool) -> None:
    """The density that takes few logarithms is that of one for each, grey or not, or no number.

    Autocast, under which models train in bfloat16, changes nothing in that of training.
    """
    noise = torch.Generator().manual_seed(0)
    grey_BP = torch.rand((3, pixels), generator=noise, dtype=dtype)
    logits_BKP = scale * torch.randn((3, 5, pixels), generator=noise, dtype=dtype)
    for x_BP in (grey_BP, grey_BP.round()):
        terms_BKP = F.binary_cross_entropy_with_logits(
            logits_BKP.double(), x_BP.double()[:, None].expand_as(logits_BKP), reduction="none"
        )
        rounding = 4 * torch.finfo(dtype).eps * pixels * max(1, scale)
        sign_BP, grey_part_BP = split_signs(x_BP)
        bias_BP = logits_BKP[:, 0] * sign_BP if biased else None
        inside_BKP = logits_BKP - logits_BKP[:, :1] if biased else logits_BKP
        found_BK = margins_log_prob_(grey_part_BP, inside_BKP * sign_BP[:, None], bias_BP)
        with torch.autocast("cpu", torch.bfloat16):
            trained_KB = bernoulli_log_prob(x_BP, logits_BKP.transpose(0, 1))
        assert found_BK.dtype == trained_KB.dtype == dtype
        expected_BK = -terms_BKP.sum(-1)
        torch.testing.assert_close(trained_KB.T.double(), expected_BK, rtol=0, atol=rounding)
        in_range = found_BK.isfinite()
        assert in_range.all() or scale == 1e4
        torch.testing.assert_close(
            found_BK.double()[in_range], expected_BK[in_range], rtol=0, atol=rounding
        )


def test_density_of_no_images() -> None:
    """A rank without a share of a ragged batch has no densities, however many samples are asked."""
    assert margins_log_prob_(torch.ones(0, 20), torch.ones(0, 5, 20)).shape == (0, 5)
