"""Layers: convolutions of any depth, against torch's, and the gates between them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vae.experiments.settings import ModelConfig
from vae.models.layers import FoldedConvTranspose2d, ResidualBlock
from vae.models.networks import build_model


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("channels", [(4, 1), (3, 3)])
def test_a_folded_convolution(channels: tuple[int, int]) -> None:
    """Values and gradients are those of torch's transposed convolution with the same weights."""
    usual = nn.ConvTranspose2d(*channels, kernel_size=4, stride=2, padding=1).double()
    folded = FoldedConvTranspose2d(*channels).double()
    folded.load_state_dict(usual.state_dict())
    x_NCHW = noise(2, channels[0], 5, 7).requires_grad_()
    expected, given = (layer(x_NCHW) for layer in (usual, folded))
    torch.testing.assert_close(given, expected)
    towards = noise(*expected.shape, seed=1)
    for_usual = torch.autograd.grad(expected, [x_NCHW, *usual.parameters()], towards)
    for_folded = torch.autograd.grad(given, [x_NCHW, *folded.parameters()], towards)
    torch.testing.assert_close(for_folded, for_usual)


@pytest.mark.parametrize(
    ("channels", "shape", "message"),
    [
        ((4, 6), (1, 32, 28), "latent_dim is 20, a map of 8x7 takes multiples of 56, such as 56"),
        ((4, 6), (1, 30, 28), "images are 30x28, ConvVAE needs multiples of 4, such as 32x28"),
        ((4,), (3, 7, 8), "images are 7x8, ConvVAE needs multiples of 2, such as 8x8"),
        ((2, 2, 2, 2), (3, 36, 3), "needs multiples of 16, such as 32x16, to halve them 4 times"),
    ],
)
def test_images_that_do_not_halve(
    channels: tuple[int, ...], shape: tuple[int, int, int], message: str
) -> None:
    """The convolutional network names the image sizes, and numbers of latents, that it takes."""
    config = ModelConfig(kind="ConvVAE", channels=channels, hidden=(), latents="map")
    with pytest.raises(ValueError, match=message):
        build_model(config, shape)


@pytest.mark.parametrize("channels", [(4,), (4, 6), (3, 20, 6)])
@pytest.mark.parametrize("activation", ["relu", "glu"])
@pytest.mark.parametrize(
    ("normalization", "latents", "latent_dim"),
    [("none", "vector", 5), ("group", "vector", 5), ("group", "map", 96)],
)
def test_convolutions_of_any_depth(
    channels: tuple[int, ...], activation: Any, normalization: Any, latents: Any, latent_dim: int
) -> None:
    """Any number of stages and blocks, of images that are not square; every weight learns."""
    config = ModelConfig(
        kind="ConvVAE",
        latent_dim=latent_dim,
        latents=latents,
        hidden=(),
        channels=channels,
        activation=activation,
        normalization=normalization,
        residual_blocks=2,
    )
    model = build_model(config, (3, 16, 24))
    densities = model(torch.rand(2, 3, 16, 24), noise(1, 2, latent_dim, dtype=torch.float32))
    (densities.kl_B - densities.px_KB).sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert not [name for name, grad in gradients.items() if grad is None or not grad.any()]


def test_a_map_keeps_its_places() -> None:
    """A latent reaches the pixels around its place in the map alone, and none beyond."""
    config = ModelConfig(
        kind="ConvVAE", latent_dim=3 * 64, latents="map", hidden=(), channels=(4, 6)
    )
    model = build_model(config, (1, 32, 32))
    z_ND = torch.zeros(2, 3, 8, 8)
    z_ND[1, :, 0, 7] = 1
    plain, changed = model.decode(z_ND.flatten(1))[:, 0]
    places = (plain != changed).nonzero()
    assert places.amin(0).tolist()[0] == 0 and places.amax(0).tolist()[1] == 31
    assert places.amax(0).tolist()[0] <= 12 and places.amin(0).tolist()[1] >= 32 - 13
    x_NCHW = torch.rand(1, 1, 32, 32).repeat(2, 1, 1, 1)
    x_NCHW[1, :, 31, 0] += 1
    plain, changed = model.encode(x_NCHW)[0].view(2, 3, 8, 8)
    assert (plain != changed).any(0).nonzero().amin(0).tolist() >= [6, 0]


def test_blocks_keep_what_comes_in() -> None:
    """A residual block whose last convolution is 0 changes nothing, nor its input in place."""
    block = ResidualBlock(4, ModelConfig(kind="ConvVAE", channels=(4,), activation="relu"))
    x_NCHW = noise(2, 4, 3, 3, dtype=torch.float32)
    before = x_NCHW.clone()
    for parameter in list(block.parameters())[-2:]:
        torch.nn.init.zeros_(parameter)
    assert torch.equal(block(x_NCHW), before)
    assert torch.equal(x_NCHW, before)


def test_gates_halve_what_they_gate() -> None:
    """Under glu every layer but the heads has twice the outputs, half of which gate the others."""
    config = ModelConfig(latent_dim=5, hidden=(16,), activation="glu")
    first, gate = list(build_model(config, (1, 4, 4)).encoder.children())[1:3]
    assert isinstance(first, torch.nn.Linear) and first.out_features == 32
    x_NP = torch.rand(3, 16)
    values, gates = first(x_NP).chunk(2, dim=1)
    torch.testing.assert_close(gate(first(x_NP)), values * torch.sigmoid(gates))
