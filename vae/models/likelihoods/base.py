"""What a likelihood p(x|z) says of itself to networks, bounds and pictures."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from vae.models.levels import Moments


class Likelihood(nn.Module, ABC):
    """p(x|z) for images of C colours, given what the decoder makes of z: O numbers a pixel.

    What it learns beside the decoder's weights are its own parameters. Shape suffixes: K samples of
    B images or N images, O decoded channels, C colours, H, W. Pixels are in [0, 1].
    """

    outputs: int  # O

    @abstractmethod
    def log_prob(self, x_BCHW: Tensor, decoded_KBOHW: Tensor) -> Tensor:
        """log p(x|z) in nats, [K, B], summed over pixels in float32 or better."""

    @abstractmethod
    def mean(self, decoded_NOHW: Tensor) -> Tensor:
        """The picture that p(x|z) expects, [N, C, H, W] in [0, 1]."""

    @abstractmethod
    def draw(self, decoded_NOHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Pixels drawn from p(x|z), [N, C, H, W] in [0, 1]; without gradient."""

    @abstractmethod
    def start(self, moments: Moments) -> Tensor:
        """The decoder's first bias, [O, H, W], that makes p(x|z) fit the training pixels.

        H and W are those of `moments`. Sets this likelihood's own parameters too.
        """


def draw_uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Numbers in (0, 1), shaped and placed as `like`, drawn where the generator is."""
    device = like.device if generator is None else generator.device
    tiny = torch.finfo(like.dtype).tiny
    drawn = torch.rand(like.shape, dtype=like.dtype, device=device, generator=generator)
    return drawn.clamp_min(tiny).to(like.device)
