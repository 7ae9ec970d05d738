"""What a model draws, as sheets: samples, reconstructions, interpolations, each latent alone."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vae.data.mapped import Examples
from vae.evaluation.bounds import ACTIVE_VARIANCE
from vae.models.densities import gaussian_kl
from vae.models.levels import split, to_unit
from vae.models.networks import VAE
from vae.publishing.pictures import choose_pairs, to_pixels
from vae.publishing.sheets import MAX_SIDE, Sheet, lay_out, shrink

SAMPLES, SAMPLE_COLUMNS = 64, 8
PAIRS, STEPS = 8, 9
RECONSTRUCTED, RECONSTRUCTION_COLUMNS = 32, 8
TRAVERSED = 64  # latents at most, those with the highest KL
REACH = 3.0  # standard deviations of the prior, to both sides
VALUES = 13
THUMBNAIL_SIDE = 28
SHEET_PIXELS = 600_000  # of a sheet whose cells are many: they get smaller instead


@dataclass(frozen=True)
class Latent:
    """One dimension of the latents, over the images shown."""

    number: int  # from 1
    kl: float  # nats per image
    active: bool


@torch.no_grad()
def measure_latents(model: VAE, images: Tensor) -> list[Latent]:
    """KL(q(z_i|x)‖p(z_i)) of each dimension, the highest first; active as `Sums` counts them."""
    encoded = [model.encode(to_pixels(model, part)) for part in split(images, len(images))]
    mu_BD, logvar_BD = (torch.cat(parts) for parts in zip(*encoded, strict=True))
    kl_D = gaussian_kl(mu_BD[..., None], logvar_BD[..., None]).double().mean(0).tolist()
    active_D = (mu_BD.double().var(0, correction=0) > ACTIVE_VARIANCE).tolist()
    latents = [Latent(i + 1, kl, on) for i, (kl, on) in enumerate(zip(kl_D, active_D, strict=True))]
    return sorted(latents, key=lambda latent: -latent.kl)


def choose_traversed(latents: list[Latent]) -> list[Latent]:
    """The active ones that a page has room for; where none is, the one with the highest KL."""
    return [latent for latent in latents if latent.active][:TRAVERSED] or latents[:1]


def list_values() -> list[float]:
    """What a traversed latent is set to, one after the other."""
    return torch.linspace(-REACH, REACH, VALUES).tolist()


@torch.no_grad()
def traverse(model: VAE, image_CHW: Tensor, latents: list[Latent]) -> Sheet:
    """A row for each latent, the others at the image's posterior mean."""
    mean_D = model.encode(to_pixels(model, image_CHW[None]))[0][0]
    values = torch.tensor(list_values(), dtype=mean_D.dtype, device=mean_D.device)
    rows = []
    for latent in latents:
        z_VD = mean_D.repeat(VALUES, 1)
        z_VD[:, latent.number - 1] = values
        rows.append(model.expect(z_VD.to(model.dtype)))
    side = math.isqrt(SHEET_PIXELS // (len(latents) * VALUES))
    return lay_out(torch.cat(rows), VALUES, min(MAX_SIDE, side))


def draw_samples(model: VAE) -> Sheet:
    """Draws from the prior; the same ones as in the version's samples.png."""
    drawn = model.sample(SAMPLES, torch.Generator().manual_seed(0))
    return lay_out(drawn, SAMPLE_COLUMNS)


def draw_reconstructions(model: VAE, images: Tensor) -> Sheet:
    """Rows of images, each above a row of their reconstructions."""
    columns = min(RECONSTRUCTION_COLUMNS, len(images))
    x_BCHW = to_pixels(model, images[: min(RECONSTRUCTED, len(images)) // columns * columns])
    decoded = model.reconstruct(x_BCHW)
    pairs = zip(torch.split(x_BCHW, columns), torch.split(decoded, columns), strict=True)
    return lay_out(torch.cat([row for pair in pairs for row in pair]), columns)


def interpolate(model: VAE, examples: Examples) -> tuple[Sheet, list[tuple[int, int]]]:
    """A row from one image to another of another class, where there are such; and their labels."""
    images, labels = examples.images, examples.labels.tolist()
    tiles, ends = [], []
    for i, j in choose_pairs(labels, PAIRS):
        a_CHW, b_CHW = to_pixels(model, images[[i, j]])
        tiles += [a_CHW[None], model.interpolate(a_CHW, b_CHW, STEPS), b_CHW[None]]
        ends.append((labels[i], labels[j]))
    return lay_out(torch.cat(tiles), STEPS + 2), ends


def draw_thumbnails(images: Tensor) -> Sheet:
    """Every image once, small: what a point on the map stands for."""
    small = [shrink(to_unit(part), THUMBNAIL_SIDE) for part in split(images, len(images))]
    return lay_out(torch.cat(small), math.ceil(math.sqrt(len(images))), THUMBNAIL_SIDE)
