"""The models: images in, log densities in nats out.

Shape suffixes: B images, K posterior samples per image, D latent dimensions, C, H, W of an image,
N any number of latent vectors.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import fold

from vae.experiments.settings import ModelConfig
from vae.models.densities import Densities, bernoulli_log_prob, promote_to_float32

# Of the weights, and of all that is summed, by train.precision.
DTYPES = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "glu": partial(nn.GLU, dim=1),  # gated: half of a layer's outputs times sigmoid of the others
}


class VAE(nn.Module):
    """A VAE with a diagonal Gaussian posterior, a standard normal prior and Bernoulli pixels.

    Kingma & Welling 2014, arXiv:1312.6114. Subclasses build `encoder` (images to 2D statistics)
    and `decoder` (latents to logits); everything probabilistic is here, once.
    """

    encoder: nn.Module
    decoder: nn.Module

    def __init__(self, config: ModelConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.config = config
        self.shape = shape

    @property
    def latent_dim(self) -> int:
        """D, the number of latent dimensions."""
        return self.config.latent_dim

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype

    def encode(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each [B, D], for pixels in [0, 1]."""
        mu_BD, logvar_BD = promote_to_float32(self.encoder(x_BCHW)).chunk(2, dim=-1)
        return mu_BD, logvar_BD

    def reparameterize(self, mu: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
        """z = mu + sigma * eps, broadcast: [B, D] statistics and [K, B, D] noise give [K, B, D]."""
        return mu + torch.exp(0.5 * logvar) * eps

    def decode(self, z_ND: Tensor) -> Tensor:
        """Bernoulli logits [N, C, H, W] of p(x|z)."""
        logits: Tensor = self.decoder(z_ND)
        return logits.reshape(len(z_ND), *self.shape)

    def forward(self, x_BCHW: Tensor, eps_KBD: Tensor) -> Densities:
        """Log densities of a batch for given posterior noise.

        The only method the training loop calls: DDP synchronises gradients through it alone.
        """
        mu_BD, logvar_BD = self.encode(x_BCHW)
        z_KBD = self.reparameterize(mu_BD, logvar_BD, eps_KBD)
        logits = self.decode(z_KBD.flatten(0, 1)).view(*z_KBD.shape[:2], *self.shape)
        return Densities(bernoulli_log_prob(x_BCHW, logits), z_KBD, mu_BD, logvar_BD)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n images from the prior: pixel probabilities [n, C, H, W]."""
        z_ND = torch.randn(n, self.latent_dim, generator=generator, dtype=self.dtype)
        return torch.sigmoid(self.decode(z_ND.to(self.device)))

    @torch.no_grad()
    def reconstruct(self, x_BCHW: Tensor) -> Tensor:
        """Pixel probabilities [B, C, H, W] decoded from the posterior means."""
        return torch.sigmoid(self.decode(self.encode(x_BCHW)[0]))

    @torch.no_grad()
    def interpolate(self, a_CHW: Tensor, b_CHW: Tensor, steps: int) -> Tensor:
        """Pixel probabilities [steps, C, H, W] along the line between two posterior means."""
        (a_D, b_D), _ = self.encode(torch.stack([a_CHW, b_CHW]))
        weight = torch.linspace(0, 1, steps, device=a_D.device, dtype=a_D.dtype)[:, None]
        return torch.sigmoid(self.decode(torch.lerp(a_D, b_D, weight)))


class ImprovedVAE(VAE):
    """Fully connected both ways: pixels, hidden layers, latents, and the mirror image back."""

    def __init__(self, config: ModelConfig, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        pixels = math.prod(shape)
        widths = (pixels, *config.hidden)
        self.encoder = nn.Sequential(
            nn.Flatten(),
            *stack_dense(widths, config.activation),
            nn.Linear(widths[-1], 2 * config.latent_dim),
        )
        back = (config.latent_dim, *reversed(config.hidden))
        self.decoder = nn.Sequential(
            *stack_dense(back, config.activation), nn.Linear(back[-1], pixels)
        )


class ConvVAE(VAE):
    """Two strided convolutions and dense layers; dense layers and two transposed convolutions."""

    def __init__(self, config: ModelConfig, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        colours, height, width = shape
        if height % 4 or width % 4:
            raise ValueError(f"images are {height}x{width}, ConvVAE needs multiples of 4")
        first, second = config.channels
        features = (second, height // 4, width // 4)
        widths = (math.prod(features), *config.hidden)
        activation = config.activation
        strided = {"kernel_size": 4, "stride": 2, "padding": 1}
        self.encoder = nn.Sequential(
            *add_activation(nn.Conv2d, colours, first, activation, **strided),
            *add_activation(nn.Conv2d, first, second, activation, **strided),
            nn.Flatten(),
            *stack_dense(widths, activation),
            nn.Linear(widths[-1], 2 * config.latent_dim),
        )
        self.decoder = nn.Sequential(
            *stack_dense((config.latent_dim, *reversed(widths)), activation),
            nn.Unflatten(1, features),
            *add_activation(nn.ConvTranspose2d, second, first, activation, **strided),
            FoldedConvTranspose2d(first, colours),
        )


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


def build_model(
    config: ModelConfig,
    shape: tuple[int, int, int],
    mean_image: Tensor | None = None,
    seed: int = 0,
) -> VAE:
    """A freshly initialised model; the same seed gives the same weights anywhere.

    `mean_image` [C, H, W] in [0, 1]: the output bias starts at its logit, so that training starts
    from the independent-pixel model. Raises ValueError if the network can't take `shape`.
    """
    network = {"ImprovedVAE": ImprovedVAE, "ConvVAE": ConvVAE}[config.kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network(config, shape)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)
    if mean_image is not None:
        start_from_mean(model, mean_image)
    # With the channels innermost, convolutions take two thirds of the time.
    return model.to(memory_format=torch.channels_last)


@torch.no_grad()
def start_from_mean(model: VAE, mean_image_CHW: Tensor) -> None:
    """Set the output bias to logit(mean): per pixel if dense, per channel if convolutional."""
    *_, output = model.decoder.children()
    if not isinstance(output, nn.Linear | nn.ConvTranspose2d) or output.bias is None:
        raise TypeError(f"the decoder ends in {output}, which has no bias to start from the mean")
    dense = isinstance(output, nn.Linear)
    mean = mean_image_CHW.flatten() if dense else mean_image_CHW.mean((1, 2))
    output.bias.copy_(torch.logit(mean, eps=1e-3))


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
