"""Layers of the networks, each with its normalisation and activation."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import fold

from vae.experiments.settings import ModelConfig

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "glu": partial(nn.GLU, dim=1),  # gated: half of a layer's outputs times sigmoid of the others
}
GROUP_CHANNELS = 8  # that are normalised together, or more where these don't divide a layer's
FEW_CHANNELS = 8  # up to which a CPU is faster with a transposed convolution that is folded
STRIDED = {"kernel_size": 4, "stride": 2, "padding": 1}  # halves both sides, or doubles them
Joint = tuple[list[nn.Module], list[nn.Module]]  # features to 2D statistics; latents to features


def stack_dense(widths: tuple[int, ...], activation: str) -> list[nn.Module]:
    """Linear layers from each width to the next, each followed by the activation."""
    return [
        module
        for fan_in, fan_out in pairwise(widths)
        for module in add_activation(nn.Linear, fan_in, fan_out, activation)
    ]


def add_activation(
    layer: Callable[..., nn.Module], fan_in: int, fan_out: int, activation: str, **options: int
) -> list[nn.Module]:
    """A layer and its activation, with `fan_out` outputs after it."""
    gates = 2 if activation == "glu" else 1
    return [layer(fan_in, gates * fan_out, **options), ACTIVATIONS[activation]()]


def stack_convolutions(
    layer: Callable[..., nn.Module], widths: tuple[int, ...], config: ModelConfig
) -> list[nn.Module]:
    """Strided convolutions from each number of channels to the next, with all that follows one."""
    return [
        module
        for fan_in, fan_out in pairwise(widths)
        for module in add_normalization(layer, fan_in, fan_out, config, **STRIDED)
    ]


def stack_residual(channels: int, config: ModelConfig) -> list[nn.Module]:
    """The residual blocks of one side of the network."""
    return [ResidualBlock(channels, config) for _ in range(config.residual_blocks)]


def add_normalization(
    layer: Callable[..., nn.Module], fan_in: int, fan_out: int, config: ModelConfig, **options: int
) -> list[nn.Module]:
    """A convolution, its normalisation if there is one, and its activation."""
    convolution, activation = add_activation(layer, fan_in, fan_out, config.activation, **options)
    if config.normalization == "none":
        return [convolution, activation]
    channels = fan_out * (2 if config.activation == "glu" else 1)
    groups = math.gcd(channels, max(1, channels // GROUP_CHANNELS))
    return [convolution, nn.GroupNorm(groups, channels), activation]


def join_vector(features: tuple[int, int, int], config: ModelConfig) -> Joint:
    """Dense layers between features [C, H, W] and one vector of latents."""
    widths = (math.prod(features), *config.hidden)
    return (
        [
            nn.Flatten(),
            *stack_dense(widths, config.activation),
            nn.Linear(widths[-1], 2 * config.latent_dim),
        ],
        [
            *stack_dense((config.latent_dim, *reversed(widths)), config.activation),
            nn.Unflatten(1, features),
        ],
    )


def join_map(features: tuple[int, int, int], config: ModelConfig) -> Joint:
    """Convolutions between features [C, H, W] and a map of latents, [D / (H * W), H, W]."""
    channels, height, width = features
    depth = config.latent_dim // (height * width)
    around = {"kernel_size": 3, "padding": 1}
    return (
        [nn.Conv2d(channels, 2 * depth, kernel_size=1), nn.Flatten()],
        [
            nn.Unflatten(1, (depth, height, width)),
            *add_normalization(nn.Conv2d, depth, channels, config, **around),
        ],
    )


JOINTS = {"vector": join_vector, "map": join_map}


def end_in_image(fan_in: int, fan_out: int) -> nn.Module:
    """The transposed convolution that gives what the likelihood takes."""
    if fan_out <= FEW_CHANNELS:
        return FoldedConvTranspose2d(fan_in, fan_out)
    return nn.ConvTranspose2d(fan_in, fan_out, kernel_size=4, stride=2, padding=1)


class ResidualBlock(nn.Module):
    """What comes in, and added to it a 3x3 convolution, an activation and a 1x1 convolution.

    As in van den Oord et al. 2017, arXiv:1711.00937; from and to [N, channels, H, W].
    """

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.change = nn.Sequential(
            *add_normalization(nn.Conv2d, channels, channels, config, kernel_size=3, padding=1),
            nn.Conv2d(channels, channels, kernel_size=1),
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        changed: Tensor = x_NCHW + self.change(x_NCHW)
        return changed


class FoldedConvTranspose2d(nn.ConvTranspose2d):
    """The transposed convolution that doubles height and width, as a product and a sum of its taps.

    The same weights and, to rounding, results as torch's. Where there are few channels to fill, an
    image's, torch's take one CPU core twice as long to train and four times as long to decode. On a
    GPU torch's are used: there the gradient of a sum of taps is a kernel for each image.
    """

    bias: Tensor

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__(fan_in, fan_out, kernel_size=4, stride=2, padding=1)

    def forward(self, x_NCHW: Tensor) -> Tensor:  # type: ignore[override]
        """From [N, fan_in, H, W] to [N, fan_out, 2H, 2W]."""
        if x_NCHW.is_cuda:
            return super().forward(x_NCHW)
        height, width = x_NCHW.shape[2:]
        taps_NLT = x_NCHW.permute(0, 2, 3, 1).flatten(1, 2) @ self.weight.flatten(1)
        image = fold(taps_NLT.mT, (2 * height, 2 * width), kernel_size=4, stride=2, padding=1)
        return image + self.bias[:, None, None]
