"""Likelihoods: probabilities that sum to one, against other forms, drawn, and never infinite."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal

from vae.experiments.settings import ModelConfig
from vae.models.levels import Moments, from_unit, measure_moments, to_unit
from vae.models.likelihoods import Gaussian, Likelihood, LogisticMixture, build_likelihood
from vae.models.likelihoods.discretized import bound_log_scale, level_log_prob

ALL_LEVELS = torch.arange(256, dtype=torch.float64)
CONFIGS = {
    "bernoulli": ModelConfig(),
    "logistic": ModelConfig(likelihood="logistic"),
    "logistic, a scale a colour": ModelConfig(likelihood="logistic", scale="channel"),
    "mixture": ModelConfig(likelihood="logistic-mixture"),
    "mixture of two": ModelConfig(likelihood="logistic-mixture", components=2),
    "gaussian": ModelConfig(likelihood="gaussian"),
}
LEVELLED = [name for name, config in CONFIGS.items() if config.has_levels]
EVERY = pytest.mark.parametrize("name", CONFIGS)
COLOURS = pytest.mark.parametrize("colours", [1, 3])


def likelihood_of(name: str, colours: int) -> Likelihood:
    return build_likelihood(CONFIGS[name], colours).double()


def draw_decoded(likelihood: Likelihood, n: int = 1, side: int = 1, scale: float = 1.0) -> Tensor:
    """What a decoder might give, [n, O, side, side], float64."""
    noise = torch.Generator().manual_seed(0)
    shape = (n, likelihood.outputs, side, side)
    return scale * torch.randn(shape, generator=noise, dtype=torch.float64)


def log_prob(likelihood: Likelihood, x_BCHW: Tensor, decoded_NOHW: Tensor) -> Tensor:
    """log p(x|z), [B], of images with one decoding each, or the same for all."""
    return likelihood.log_prob(x_BCHW, decoded_NOHW.expand(1, len(x_BCHW), -1, -1, -1))[0]


@pytest.mark.parametrize("name", LEVELLED)
@COLOURS
@pytest.mark.parametrize("scale", [0.3, 1, 10, 1e6])
def test_probabilities_of_all_levels_sum_to_one(name: str, colours: int, scale: float) -> None:
    """Of each colour given any levels of those before it, in float64 to rounding."""
    likelihood = likelihood_of(name, colours)
    decoded = draw_decoded(likelihood, scale=scale)
    joint = likelihood_of(name, colours)
    for colour in range(colours):
        # Only this colour varies; the later ones are summed over by leaving them out.
        fixed = torch.tensor([17.0, 200.0, 99.0], dtype=torch.float64)[:colours]
        levels_BC = fixed.expand(256, -1).clone()
        levels_BC[:, colour] = ALL_LEVELS
        shares_B = log_share(joint, levels_BC, decoded, colour + 1)
        before = log_share(joint, levels_BC[:1], decoded, colour)[0]
        total = torch.logsumexp(shares_B, 0)
        torch.testing.assert_close(total, before, rtol=1e-9, atol=1e-9)


def log_share(likelihood: Likelihood, levels_BC: Tensor, decoded: Tensor, first: int) -> Tensor:
    """log p of the first colours of one pixel, by a likelihood of that many: they come first."""
    if first == 0:
        return torch.zeros(len(levels_BC), dtype=torch.float64)
    x_BCHW = to_unit(levels_BC[:, :first, None, None], torch.float64)
    colours = levels_BC.shape[1]
    if isinstance(likelihood, LogisticMixture):
        by_component = decoded.view(likelihood.components, -1)
        location = by_component[:, 1 : 1 + first]
        scale = by_component[:, 1 + colours : 1 + colours + first]
        slope = by_component[:, 1 + 2 * colours :][:, : first * (first - 1) // 2]
        kept = torch.cat([by_component[:, :1], location, scale, slope], 1).view(1, -1, 1, 1)
        return log_prob(LogisticMixture(first, likelihood.components), x_BCHW, kept)
    config = ModelConfig(likelihood="logistic", scale="channel")
    fewer = build_likelihood(config, first).double()
    if likelihood.outputs == 2 * colours:
        fewer = build_likelihood(ModelConfig(likelihood="logistic"), first).double()
        decoded = torch.cat([decoded[:, :first], decoded[:, colours : colours + first]], 1)
    return log_prob(fewer, x_BCHW, decoded[:, : fewer.outputs])


def test_a_mixture_is_its_components_by_hand() -> None:
    """A sum of products over a loop: weights, and colours whose locations lean on earlier ones."""
    likelihood, chosen = LogisticMixture(3, 10).double(), (250, 3, 128)
    decoded = draw_decoded(likelihood)
    total, rows = 0.0, decoded.view(10, 10)
    weights = torch.softmax(rows[:, 0], 0)
    for weight, row in zip(weights, rows, strict=True):
        red, green, blue = (level / 127.5 - 1 for level in chosen)
        by_red, red_on_blue, green_on_blue = torch.tanh(row[7:]).tolist()
        located = [
            row[1],
            row[2] + by_red * red,
            row[3] + red_on_blue * red + green_on_blue * green,
        ]
        assert blue != red
        product = float(weight)
        for level, location, raw in zip(chosen, located, row[4:7], strict=True):
            log_scale = bound_log_scale(raw)
            at = torch.tensor(float(level), dtype=torch.float64)
            product *= math.exp(level_log_prob(at, 127.5 * (1 + location), log_scale))
        total += product
    x_BCHW = to_unit(torch.tensor(chosen).view(1, 3, 1, 1), torch.float64)
    assert log_prob(likelihood, x_BCHW, decoded).item() == pytest.approx(math.log(total))


def test_a_gaussian_is_torchs() -> None:
    """Of every pixel, with the one sigma."""
    likelihood = likelihood_of("gaussian", 3)
    assert isinstance(likelihood, Gaussian)
    decoded, x_BCHW = draw_decoded(likelihood, 5, 4), torch.rand(5, 3, 4, 4, dtype=torch.float64)
    known = Normal(decoded, likelihood.log_sigma.exp()).log_prob(x_BCHW)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(log_prob(likelihood, x_BCHW, decoded), known.sum((1, 2, 3)))


def test_the_best_sigma_is_the_root_of_the_mean_squared_error() -> None:
    """There its gradient is 0, and the density lower on both sides."""
    likelihood = likelihood_of("gaussian", 1)
    assert isinstance(likelihood, Gaussian)
    x_BCHW = torch.rand((50, 1, 4, 4), generator=torch.Generator().manual_seed(0)).double()
    decoded = torch.full_like(x_BCHW, 0.5)
    error = (x_BCHW - decoded).square().mean()
    likelihood.start(Moments(torch.full((1, 4, 4), 0.5), (0.25 + error).expand(1, 4, 4)))
    torch.testing.assert_close(likelihood.log_sigma.exp()[0].square(), error)
    best = log_prob(likelihood, x_BCHW, decoded).sum()
    (slope,) = torch.autograd.grad(best, [likelihood.raw_log_sigma])
    assert abs(slope.item()) < 1e-4 * x_BCHW.numel()


@pytest.mark.parametrize("name", [*LEVELLED, "bernoulli"])
@COLOURS
def test_draws_have_the_probabilities(name: str, colours: int) -> None:
    """Draws are levels; their mean is the mean picture, their -log p(x) the entropy drawn again."""
    likelihood, n = likelihood_of(name, colours), 40_000
    decoded = draw_decoded(likelihood, scale=0.3)
    first, second = (
        likelihood.draw(decoded.expand(n, -1, -1, -1), torch.Generator().manual_seed(seed))
        for seed in (1, 2)
    )
    levels = from_unit(first)
    torch.testing.assert_close(first, levels / 255)
    assert first.shape == (n, colours, 1, 1)
    assert not torch.equal(first, second)
    error = first.std(0) / math.sqrt(n) + 2e-3  # the mean picture is exact to half a level
    assert ((first.mean(0) - likelihood.mean(decoded)[0]).abs() < 5 * error).all()
    entropies = [-log_prob(likelihood, drawn, decoded) for drawn in (first, second)]
    spread = entropies[0].std() * math.sqrt(2 / n)
    assert (entropies[0].mean() - entropies[1].mean()).abs() < 5 * spread + 1e-9
    if colours == 1 and name != "bernoulli":
        probability = log_prob(
            likelihood, to_unit(ALL_LEVELS, torch.float64).view(-1, 1, 1, 1), decoded
        )
        known = -(probability.exp() * probability).sum()
        assert (entropies[0].mean() - known).abs() < 5 * spread


@EVERY
@COLOURS
@given(data=st.data())
def test_gradients_are_finite(name: str, colours: int, data: st.DataObject) -> None:
    """Of any level and whatever a decoder gives, in float32."""
    likelihood = build_likelihood(CONFIGS[name], colours)
    number = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, 1e15, -1e15])
    some = data.draw(st.lists(number, min_size=4, max_size=4))
    levels = data.draw(st.lists(st.integers(0, 255), min_size=colours, max_size=colours))
    cycled = [some[i % 4] for i in range(likelihood.outputs)]
    decoded = torch.tensor(cycled).view(1, -1, 1, 1).requires_grad_()
    for parameter in likelihood.parameters():
        torch.nn.init.constant_(parameter, some[0])
    x_BCHW = to_unit(torch.tensor(levels)).view(1, -1, 1, 1)
    found = log_prob(likelihood, x_BCHW, decoded)
    found.sum().backward()  # type: ignore[no-untyped-call]
    gradients = [decoded.grad, *(parameter.grad for parameter in likelihood.parameters())]
    assert found.isfinite().all()
    assert all(grad is not None and grad.isfinite().all() for grad in gradients)
    assert ((likelihood.mean(decoded) >= 0) & (likelihood.mean(decoded) <= 1)).all()


@EVERY
def test_sums_are_float32(name: str) -> None:
    """What a decoder gives in bfloat16 is summed as the same numbers in float32 are."""
    likelihood = build_likelihood(CONFIGS[name], 3)
    decoded = draw_decoded(likelihood, 4, 8).bfloat16()
    x_BCHW = to_unit(torch.randint(256, (4, 3, 8, 8), generator=torch.Generator().manual_seed(0)))
    with torch.autocast("cpu", torch.bfloat16):
        found = log_prob(likelihood, x_BCHW, decoded)
    assert found.dtype == torch.float32
    known = log_prob(likelihood.double(), x_BCHW.double(), decoded.double())
    torch.testing.assert_close(found.double(), known, rtol=1e-5, atol=0)


@EVERY
def test_samples_of_an_image_are_weighed_each(name: str) -> None:
    """[K, B] densities are those of every sample by itself, of no images too."""
    likelihood = likelihood_of(name, 3)
    decoded_KBOHW = draw_decoded(likelihood, 6, 4).view(2, 3, -1, 4, 4)
    x_BCHW = torch.rand((3, 3, 4, 4), dtype=torch.float64).round()
    together = likelihood.log_prob(x_BCHW, decoded_KBOHW)
    torch.testing.assert_close(
        together, torch.stack([log_prob(likelihood, x_BCHW, each) for each in decoded_KBOHW])
    )
    assert likelihood.log_prob(x_BCHW[:0], decoded_KBOHW[:, :0]).shape == (2, 0)


@EVERY
@pytest.mark.parametrize("shape", [(3, 5, 4), (1, 1, 1)])
def test_the_start_fits_the_training_pixels(name: str, shape: tuple[int, int, int]) -> None:
    """Its picture is the mean image, and any other location or scale is worse for the pixels."""
    likelihood, noise = likelihood_of(name, shape[0]), torch.Generator().manual_seed(3)
    centre = torch.randint(60, 190, shape, generator=noise)
    levels = centre + torch.randint(-25, 26, (500, *shape), generator=noise)
    moments = Moments(*(moment.double() for moment in measure_moments(levels.to(torch.uint8))))
    bias = likelihood.start(moments)
    assert bias.shape == (likelihood.outputs, *shape[1:])
    tolerance = 1e-6 if name in ("bernoulli", "gaussian") else 0.02
    picture = likelihood.mean(bias[None])[0]
    torch.testing.assert_close(picture, moments.mean_CHW, rtol=0, atol=tolerance)
    fit = log_prob(likelihood, to_unit(levels, torch.float64), bias[None]).mean()
    for change in (0.5, -0.5):
        assert (
            log_prob(likelihood, to_unit(levels, torch.float64), bias[None] + change).mean() < fit
        )


@EVERY
@pytest.mark.parametrize("value", [0, 255, 128])
def test_pixels_that_never_change(name: str, value: int) -> None:
    """A first bias is finite, also of images that are all the same."""
    images = torch.full((10, 3, 2, 2), value, dtype=torch.uint8)
    likelihood = build_likelihood(CONFIGS[name], 3)
    bias = likelihood.start(measure_moments(images))
    assert bias.isfinite().all()
    assert all(parameter.isfinite().all() for parameter in likelihood.parameters())
