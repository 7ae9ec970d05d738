"""The models: densities against closed forms and torch.distributions, shapes, first weights."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from vae.experiments.settings import ModelConfig
from vae.models.densities import bernoulli_log_prob, gaussian_kl, standard_normal_log_prob
from vae.models.levels import Moments
from vae.models.networks import VAE, build_model

MNIST, CIFAR = (1, 28, 28), (3, 32, 32)
DENSE = ModelConfig(latent_dim=5, hidden=(16, 8))
CONV = ModelConfig(kind="ConvVAE", latent_dim=5, hidden=(16,), channels=(4, 6))
CONV_ALONE = ModelConfig(kind="ConvVAE", latent_dim=1, hidden=(), channels=(2, 3))
CONFIGS = pytest.mark.parametrize("config", [DENSE, CONV, CONV_ALONE])
SHAPES = pytest.mark.parametrize("shape", [MNIST, CIFAR])


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def draw_floats(n: int, shape: tuple[int, int, int]) -> Tensor:
    return torch.rand((n, *shape), generator=torch.Generator().manual_seed(1))


@CONFIGS
@SHAPES
def test_shapes(config: ModelConfig, shape: tuple[int, int, int]) -> None:
    """Both networks take both image shapes, and no images at all, and give them back."""
    model, latents = build_model(config, shape), config.latent_dim
    for n in (3, 0):
        mu_BD, logvar_BD = model.encode(draw_floats(n, shape))
        assert mu_BD.shape == logvar_BD.shape == (n, latents)
        assert model.decode(mu_BD).shape == (n, *shape)
        densities = model(draw_floats(n, shape), noise(4, n, latents, dtype=torch.float32))
        of_samples = (densities.px_KB, densities.pz_KB, densities.qz_KB)
        assert [density.shape for density in of_samples] == [(4, n)] * 3
        assert densities.kl_B.shape == (n,)


@CONFIGS
@SHAPES
def test_pictures(config: ModelConfig, shape: tuple[int, int, int]) -> None:
    """Samples follow their generator; a path in latent space ends at the reconstructions."""
    model, pair = build_model(config, shape), draw_floats(2, shape)
    first, again = (model.sample(3, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (3, *shape)
    assert ((first > 0) & (first < 1)).all()
    path = model.interpolate(pair[0], pair[1], steps=5)
    assert path.shape == (5, *shape)
    torch.testing.assert_close(path[[0, -1]], model.reconstruct(pair))


def test_densities() -> None:
    """The four densities are those of the Bernoulli pixels, the prior and the posterior."""
    model = build_model(DENSE, MNIST).double()
    x_BCHW, eps_KBD = draw_floats(3, MNIST).round().double(), noise(2, 3, 5)
    mu_BD, logvar_BD = model.encode(x_BCHW)
    posterior, prior = Normal(mu_BD, (logvar_BD / 2).exp()), Normal(0 * mu_BD, 1.0)
    z_KBD = mu_BD + posterior.stddev * eps_KBD
    logits = model.decode(z_KBD.flatten(0, 1)).view(2, 3, *MNIST)
    densities = model(x_BCHW, eps_KBD)
    for ours, distribution, at in (
        (densities.px_KB, Independent(Bernoulli(logits=logits), 3), x_BCHW),
        (densities.pz_KB, Independent(prior, 1), z_KBD),
        (densities.qz_KB, Independent(posterior, 1), z_KBD),
    ):
        torch.testing.assert_close(ours, distribution.log_prob(at))  # type: ignore[no-untyped-call]
    kl_BD = kl_divergence(posterior, prior)
    torch.testing.assert_close(densities.kl_B, kl_BD.sum(-1))


def test_kl_is_the_mean_of_its_samples() -> None:
    """The closed form lies within five standard errors of a Monte Carlo mean; at q = p it is 0."""
    mu_BD, logvar_BD, eps_KBD = noise(3, 4), noise(3, 4, seed=1), noise(100_000, 3, 4, seed=2)
    z_KBD = mu_BD + (logvar_BD / 2).exp() * eps_KBD
    log_qz_KB = standard_normal_log_prob(eps_KBD) - logvar_BD.sum(-1) / 2
    drawn_KB = log_qz_KB - standard_normal_log_prob(z_KBD)
    error_B = drawn_KB.std(0) / math.sqrt(len(drawn_KB))
    assert ((gaussian_kl(mu_BD, logvar_BD) - drawn_KB.mean(0)).abs() < 5 * error_B).all()
    assert gaussian_kl(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0


def test_pixels_never_overflow() -> None:
    """A logit of a thousand costs nothing where it is right, a thousand nats where it is wrong."""
    x_BCHW = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    logits = torch.tensor([1000.0, 1000.0]).view(1, 2, 1, 1, 1)
    assert bernoulli_log_prob(x_BCHW, logits).tolist() == [[-1000.0, 0.0]]
    assert bernoulli_log_prob(x_BCHW, -logits).tolist() == [[0.0, -1000.0]]


def test_reparameterized_gradients() -> None:
    """dz/dmu is 1 and dz/dlogvar is half of sigma * eps."""
    mu, logvar, eps = noise(3, 5), noise(3, 5, seed=1), noise(2, 3, 5, seed=2)
    mu.requires_grad_()
    logvar.requires_grad_()
    z = build_model(DENSE, MNIST).reparameterize(mu, logvar, eps)
    by_mu, by_logvar = torch.autograd.grad(z.sum(), (mu, logvar))
    torch.testing.assert_close(by_mu, torch.full_like(mu, 2))
    torch.testing.assert_close(by_logvar, (0.5 * (logvar / 2).exp() * eps).sum(0))


@SHAPES
def test_output_starts_at_the_mean(shape: tuple[int, int, int]) -> None:
    """At z = 0 an untrained dense model shows the mean image, a convolutional one its colours."""
    mean_CHW = draw_floats(1, shape)[0] * 0.9 + 0.05
    colours = mean_CHW.mean((1, 2), keepdim=True).expand(shape)
    for config, expected in ((DENSE, mean_CHW), (CONV, colours)):
        model = build_model(config, shape, Moments(mean_CHW, mean_CHW))
        logits = model.decode(torch.zeros(1, config.latent_dim))[0]
        torch.testing.assert_close(logits, torch.logit(expected), rtol=1e-4, atol=1e-5)


def test_pixels_that_never_change() -> None:
    """A pixel that is always 0 or 1 starts at a finite logit."""
    mean_CHW = torch.zeros(MNIST)
    mean_CHW[0, 0] = 1
    logits = build_model(DENSE, MNIST, Moments(mean_CHW, mean_CHW)).decode(torch.zeros(1, 5))
    assert logits.isfinite().all()


@CONFIGS
def test_first_weights_follow_the_seed(config: ModelConfig) -> None:
    """The same seed gives the same weights, another one others, and nobody else's draws change."""

    def weights(seed: int) -> Tensor:
        model: VAE = build_model(config, MNIST, seed=seed)
        return torch.cat([parameter.flatten() for parameter in model.parameters()])

    before = torch.random.get_rng_state()
    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent_dim": 0}, "latent_dim is 0"),
        ({"hidden": (4, 0)}, r"hidden is \[4, 0\], each must be at least 1"),
        ({"hidden": ()}, "needs at least one layer"),
        ({"activation": "rellu"}, "did you mean 'relu'"),
        ({"channels": (4, 4)}, r"channels is \[4, 4\], but kind is ImprovedVAE"),
        ({"residual_blocks": 1}, "residual_blocks is 1, but kind is ImprovedVAE"),
        ({"normalization": "group"}, "normalization is 'group', but kind is ImprovedVAE"),
        ({"kind": "ConvVAE"}, r"channels is \[\], ConvVAE needs at least one"),
        ({"scale": "channel"}, "scale is 'channel', the bernoulli likelihood takes 'pixel' alone"),
        ({"components": 3}, "components is 3, the bernoulli likelihood takes 10, the default"),
        ({"latents": "map"}, "latents is 'map', but kind is ImprovedVAE"),
        (
            {"kind": "ConvVAE", "channels": (4,), "latents": "map"},
            r"hidden is \[400\], a map of latents takes \[\] alone",
        ),
        ({"likelihood": "logistc"}, "did you mean 'logistic'"),
    ],
)
def test_impossible_networks(settings: dict[str, object], message: str) -> None:
    """A network that can't be is refused by what is wrong with it."""
    with pytest.raises(ValueError, match=message):
        ModelConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_density_in_any_type(dtype: torch.dtype) -> None:
    """Values and gradients are those of the formula in float64, whatever type the logits have."""
    generator = torch.Generator().manual_seed(0)
    x_BCHW = torch.rand((300, 1, 20, 25), generator=generator)
    logits = (6 * torch.randn((2, 300, 1, 20, 25), generator=generator)).to(dtype).requires_grad_()
    grad_KB = torch.rand((2, 300), generator=generator, dtype=torch.float64)
    exact = logits.detach().double().requires_grad_()
    expected_KB = (x_BCHW * exact - torch.nn.functional.softplus(exact)).sum((2, 3, 4))
    torch.autograd.backward(expected_KB, grad_KB)
    px_KB = bernoulli_log_prob(x_BCHW.to(max_float32(dtype)), logits)
    torch.autograd.backward(px_KB, grad_KB.to(px_KB.dtype))
    assert logits.grad is not None and exact.grad is not None
    assert (px_KB.dtype, logits.grad.dtype) == (max_float32(dtype), dtype)
    rtol = 1e-6 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(px_KB, expected_KB, rtol=rtol, atol=0, check_dtype=False)
    step = torch.finfo(dtype).eps
    torch.testing.assert_close(
        logits.grad, exact.grad, rtol=2 * step, atol=max(step, 1e-6), check_dtype=False
    )


def max_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
