"""Encoder, decoder and sampler as `torch.export` programs, which run with torch alone."""

import copy
import io
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from vae.models.networks import VAE

EXAMPLES = 2  # images at which a program is traced; it takes any number


class Encoder(nn.Module):
    """Pixels in [0, 1], [N, C, H, W], to the mean and the log-variance of q(z|x), [N, D] each."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.encode(x)


class Decoder(nn.Module):
    """Latents [N, D] to the pictures that p(x|z) expects, [N, C, H, W] in [0, 1]."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor) -> Tensor:
        return self.model.likelihood.mean(self.model.decode(z))


class Sampler(nn.Module):
    """A temperature for each picture, [N], to draws from the prior, [N, C, H, W] in [0, 1].

    The noise is that of torch's own generator: `torch.manual_seed` fixes it.
    """

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, temperature: Tensor) -> Tensor:
        noise = torch.randn(temperature.shape[0], self.model.latent_dim, dtype=temperature.dtype)
        return self.model.likelihood.mean(self.model.decode(noise * temperature[:, None]))


def list_programs(model: VAE) -> dict[str, tuple[nn.Module, Tensor]]:
    """What is exported, by name: the module, and an input to trace it with."""
    pixels = torch.rand(EXAMPLES, *model.shape, dtype=model.dtype)
    latents = torch.randn(EXAMPLES, model.latent_dim, dtype=model.dtype)
    temperatures = torch.ones(EXAMPLES, dtype=model.dtype)
    return {
        "encoder": (Encoder(model), pixels),
        "decoder": (Decoder(model), latents),
        "sampler": (Sampler(model), temperatures),
    }


def export_programs(model: VAE) -> dict[str, ExportedProgram]:
    """The three programs of a model in evaluation mode, each for any number of images."""
    # With channels innermost, as models are, torch can't tell a saved weight from a slice of it.
    model = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    images = Dim("images")
    return {
        name: torch.export.export(module.eval(), (example,), dynamic_shapes=({0: images},))
        for name, (module, example) in list_programs(model).items()
    }


def save_programs(programs: Mapping[str, ExportedProgram], directory: Path) -> list[str]:
    """Write encoder.pt2, decoder.pt2 and sampler.pt2; their names."""
    for name, program in programs.items():
        content = io.BytesIO()  # torch's own writer ends the process where a disk is full
        torch.export.save(program, content)
        (directory / f"{name}.pt2").write_bytes(content.getvalue())
    return [f"{name}.pt2" for name in programs]
