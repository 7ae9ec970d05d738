"""The models: images in, log densities in nats out.

Shape suffixes: B images, K posterior samples per image, D latent dimensions, C, H, W of an image,
O numbers that the likelihood takes for a pixel, N any number of latent vectors.
"""

import math

import torch
from torch import Tensor, nn

from vae.experiments.settings import ModelConfig
from vae.models.densities import Densities, promote_to_float32
from vae.models.layers import (
    JOINTS,
    end_in_image,
    stack_convolutions,
    stack_dense,
    stack_residual,
)
from vae.models.levels import Moments
from vae.models.likelihoods import build_likelihood

# Of the weights, and of all that is summed, by train.precision.
DTYPES = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}

DECODED_NUMBERS = 2**24  # at once: a chunk of colour pictures, or fewer of a mixture's parameters


class VAE(nn.Module):
    """A VAE with a diagonal Gaussian posterior, a standard normal prior and a likelihood of pixels.

    Kingma & Welling 2014, arXiv:1312.6114. Subclasses build `encoder` (images to 2D statistics) and
    `decoder` (latents to what the likelihood takes); everything probabilistic is here, once.
    """

    encoder: nn.Module
    decoder: nn.Module

    def __init__(self, config: ModelConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.config = config
        self.shape = shape
        self.likelihood = build_likelihood(config, shape[0])

    @property
    def decoded_shape(self) -> tuple[int, int, int]:
        """O, H, W: what the decoder gives for an image."""
        return (self.likelihood.outputs, *self.shape[1:])

    @property
    def decoded_at_once(self) -> int:
        """Of how many images memory holds what the decoder gives."""
        return max(1, DECODED_NUMBERS // math.prod(self.decoded_shape))

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
        """What the likelihood takes, [N, O, H, W]: of a Bernoulli the logits."""
        decoded: Tensor = self.decoder(z_ND)
        # Not len(z_ND), which an exported program would take for a constant.
        return decoded.reshape(z_ND.shape[0], *self.decoded_shape)

    def forward(self, x_BCHW: Tensor, eps_KBD: Tensor) -> Densities:
        """Log densities of a batch for given posterior noise.

        The only method the training loop calls: DDP synchronises gradients through it alone.
        """
        mu_BD, logvar_BD = self.encode(x_BCHW)
        z_KBD = self.reparameterize(mu_BD, logvar_BD, eps_KBD)
        decoded_KBOHW = self.decode(z_KBD.flatten(0, 1)).view(*z_KBD.shape[:2], *self.decoded_shape)
        px_KB = self.likelihood.log_prob(x_BCHW, decoded_KBOHW)
        return Densities(px_KB, z_KBD, mu_BD, logvar_BD)

    @torch.no_grad()
    def expect(self, z_ND: Tensor) -> Tensor:
        """The pictures that p(x|z) expects, [N, C, H, W] in [0, 1]; a part of them at a time."""
        parts = torch.split(z_ND, self.decoded_at_once)
        return torch.cat([self.likelihood.mean(self.decode(z_nD)) for z_nD in parts])

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        *,
        draw_pixels: bool = False,
        temperature: float = 1.0,
    ) -> Tensor:
        """Draw n images from the prior, [n, C, H, W] in [0, 1]: the picture that each expects.

        Of a Bernoulli these are pixel probabilities. With `draw_pixels`, pixels are drawn too.
        `temperature`: the prior's standard deviation; below 1, draws are closer to the usual.
        """
        z_ND = torch.randn(n, self.latent_dim, generator=generator, dtype=self.dtype)
        z_ND *= temperature
        if draw_pixels:
            return self.likelihood.draw(self.decode(z_ND.to(self.device)), generator)
        return self.expect(z_ND.to(self.device))

    @torch.no_grad()
    def reconstruct(self, x_BCHW: Tensor) -> Tensor:
        """Expected pictures, [B, C, H, W] in [0, 1], decoded from the posterior means."""
        return self.expect(self.encode(x_BCHW)[0])

    @torch.no_grad()
    def interpolate(self, a_CHW: Tensor, b_CHW: Tensor, steps: int) -> Tensor:
        """Expected pictures [steps, C, H, W] along the line between two posterior means."""
        (a_D, b_D), _ = self.encode(torch.stack([a_CHW, b_CHW]))
        weight = torch.linspace(0, 1, steps, device=a_D.device, dtype=a_D.dtype)[:, None]
        return self.expect(torch.lerp(a_D, b_D, weight))


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
            *stack_dense(back, config.activation),
            nn.Linear(back[-1], math.prod(self.decoded_shape)),
        )


class ConvVAE(VAE):
    """Strided convolutions, residual blocks and what leads to latents; and the mirror image back.

    Every entry of `channels` is a convolution that halves both sides. Latents are a
    vector by dense layers, or a map [D / (h * w), h, w], which is flattened outside.
    """

    def __init__(self, config: ModelConfig, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        check_sides(config, shape)
        colours, height, width = shape
        channels, halvings = config.channels, 2 ** len(config.channels)
        features = (channels[-1], height // halvings, width // halvings)
        to_latents, from_latents = JOINTS[config.latents](features, config)
        self.encoder = nn.Sequential(
            *stack_convolutions(nn.Conv2d, (colours, *channels), config),
            *stack_residual(channels[-1], config),
            *to_latents,
        )
        self.decoder = nn.Sequential(
            *from_latents,
            *stack_residual(channels[-1], config),
            *stack_convolutions(nn.ConvTranspose2d, tuple(reversed(channels)), config),
            end_in_image(channels[0], self.decoded_shape[0]),
        )


def check_sides(config: ModelConfig, shape: tuple[int, int, int]) -> None:
    """Raise ValueError for images that the convolutions, or the map of latents, do not divide."""
    multiple, (height, width) = 2 ** len(config.channels), shape[1:]
    if height % multiple or width % multiple:
        fitting = [multiple * max(1, round(side / multiple)) for side in (height, width)]
        raise ValueError(
            f"images are {height}x{width}, ConvVAE needs multiples of {multiple}, such as "
            f"{fitting[0]}x{fitting[1]}, to halve them {len(config.channels)} times; "
            "each of model.channels does once"
        )
    places = math.prod(shape[1:]) // multiple**2
    if config.latents == "map" and config.latent_dim % places:
        fitting = places * max(1, round(config.latent_dim / places))
        raise ValueError(
            f"latent_dim is {config.latent_dim}, a map of {height // multiple}x{width // multiple} "
            f"takes multiples of {places}, such as {fitting}"
        )


def build_model(
    config: ModelConfig,
    shape: tuple[int, int, int],
    moments: Moments | None = None,
    seed: int = 0,
) -> VAE:
    """A freshly initialised model; the same seed gives the same weights anywhere.

    `moments` are those of the training pixels: training starts from the model of pixels that are
    independent and fit them. Raises ValueError if the network can't take `shape`.
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
    for module in model.modules():
        if isinstance(module, nn.GroupNorm):
            module.reset_parameters()
    if moments is not None:
        start_from_moments(model, moments)
    # With the channels innermost, convolutions take two thirds of the time.
    return model.to(memory_format=torch.channels_last)


@torch.no_grad()
def start_from_moments(model: VAE, moments: Moments) -> None:
    """Set the output bias to the likelihood's start: per pixel if dense, else per channel."""
    *_, output = model.decoder.children()
    if not isinstance(output, nn.Linear | nn.ConvTranspose2d) or output.bias is None:
        raise TypeError(f"the decoder ends in {output}, which has no bias to start from")
    known = moments if isinstance(output, nn.Linear) else moments.pool()
    output.bias.copy_(model.likelihood.start(known).flatten())
