"""How good a model is, in nats: sums over images, exact for any sharding, reduced once.

An evaluation split is cut into fixed chunks, and noise is keyed by chunk, so the result depends
neither on the number of workers nor on which of them took which chunk.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from vae.experiments.settings import EvaluationConfig, Experiment
from vae.models.densities import gaussian_kl, gaussian_kl_BD
from vae.models.importance_bound import choose_block, importance_bound
from vae.models.levels import Images, count_at_once
from vae.models.networks import VAE
from vae.models.seeds import derive_seed

CHUNK_IMAGES = 250
VALIDATION_SAMPLES = 100  # K of the validation bound: fixed, so that runs on a dataset compare
ACTIVE_VARIANCE = 0.01  # Burda et al. 2016: a unit is active if Var over x of E[z|x] exceeds it


@dataclass(frozen=True)
class Sums:
    """Float64 sums over images; add those of any shards, then `average` once."""

    count: int
    distortion: float  # nats
    rate: float  # nats
    log_px: float  # nats, importance-weighted; 0 where it was not asked for
    mu_D: Tensor
    mu_squared_D: Tensor
    rate_D: Tensor  # the KL of each latent, nats

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.count + other.count,
            self.distortion + other.distortion,
            self.rate + other.rate,
            self.log_px + other.log_px,
            self.mu_D + other.mu_D,
            self.mu_squared_D + other.mu_squared_D,
            self.rate_D + other.rate_D,
        )

    def to_tensor(self) -> Tensor:
        """All sums in one float64 vector [4 + 3D], for one all-reduce."""
        head = [self.count, self.distortion, self.rate, self.log_px]
        sums = (self.mu_D, self.mu_squared_D, self.rate_D)
        return torch.cat([torch.tensor(head, dtype=torch.float64), *sums])

    @staticmethod
    def from_tensor(flat: Tensor) -> "Sums":
        """Undo `to_tensor`."""
        count, distortion, rate, log_px = flat[:4].tolist()
        return Sums(round(count), distortion, rate, log_px, *flat[4:].chunk(3))

    @staticmethod
    def zero(latent_dim: int) -> "Sums":
        """The sums of no images."""
        return Sums.from_tensor(torch.zeros(4 + 3 * latent_dim, dtype=torch.float64))

    def average_elbo(self) -> dict[str, float]:
        """Means over images: negative ELBO with its rate and distortion (nats), active units."""
        distortion, rate = self.distortion / self.count, self.rate / self.count
        variance_D = self.mu_squared_D / self.count - (self.mu_D / self.count).square()
        return {
            "nelbo": distortion + rate,
            "rate": rate,
            "distortion": distortion,
            "active_units": float((variance_D > ACTIVE_VARIANCE).sum()),
        }

    @property
    def nll(self) -> float:
        """Mean negative importance-weighted bound on log p(x), in nats."""
        return -self.log_px / self.count

    def average(self, experiment: Experiment, model: VAE) -> dict[str, float]:
        """ELBO metrics, and the model's bound with its K: `nll` (nats), `nll_samples`.

        And `bits_per_dim`, where the bound is the length of a code.
        """
        samples = float(experiment.evaluation.samples)
        metrics = self.average_elbo() | {"nll": self.nll, "nll_samples": samples}
        if model.config.has_bits(experiment.data.binarize):
            metrics["bits_per_dim"] = to_bits_per_dim(self.nll, model.shape)
        return metrics


def to_bits_per_dim(nats: float, shape: tuple[int, int, int]) -> float:
    """Nats per image as bits for each pixel of each colour."""
    return nats / (math.prod(shape) * math.log(2))


def count_chunks(n_images: int) -> int:
    """Into how many fixed chunks a split of n images falls."""
    return -(-n_images // CHUNK_IMAGES)


def sum_elbo(model: VAE, images_NCHW: Images, indices: Iterable[int], seed: int) -> Sums:
    """ELBO sums over the named chunks, one posterior sample per image and the closed-form KL.

    `images_NCHW`: the whole split, uint8 0/1 if binarised, else grey levels as float in [0, 1].
    """
    return sum_chunks(model, images_NCHW, indices, seed, lambda *_: 0.0)


def sum_likelihood(
    model: VAE, images_NCHW: Images, indices: Iterable[int], config: EvaluationConfig
) -> Sums:
    """As `sum_elbo`, with the K-sample importance-weighted bound on log p(x) as well."""

    def log_px(x_BCHW: Tensor, mu_BD: Tensor, logvar_BD: Tensor, noise: torch.Generator) -> float:
        n_latents = choose_block(model, x_BCHW)
        bound_B = importance_bound(
            model, x_BCHW, mu_BD, logvar_BD, noise, samples=config.samples, block=n_latents
        )
        return float(bound_B.double().sum())

    return sum_chunks(model, images_NCHW, indices, config.seed, log_px)


ChunkBound = Callable[[Tensor, Tensor, Tensor, torch.Generator], float]


@torch.no_grad()
def sum_chunks(
    model: VAE, images_NCHW: Images, indices: Iterable[int], seed: int, log_px: ChunkBound
) -> Sums:
    """Sum over chunks; each chunk's noise comes from its own generator on the model's device.

    Large images of a chunk are taken a few at a time, which changes no more than rounding: the
    noise of each is drawn in its turn.
    """
    sums = Sums.zero(model.latent_dim)
    noise = torch.Generator(model.device)
    for index in indices:
        noise.manual_seed(derive_seed(seed, "evaluate", index))
        chunk = range(len(images_NCHW))[index * CHUNK_IMAGES : (index + 1) * CHUNK_IMAGES]
        eps_BD = torch.empty(
            (len(chunk), model.latent_dim), dtype=model.dtype, device=model.device
        ).normal_(generator=noise)
        for eps_bD in torch.split(eps_BD, count_at_once(images_NCHW.shape, CHUNK_IMAGES)):
            part, chunk = chunk[: len(eps_bD)], chunk[len(eps_bD) :]
            x_bCHW = images_NCHW[part.start : part.stop].to(model.device, model.dtype)
            sums += sum_images(model, x_bCHW, eps_bD, noise, log_px)
    return sums


def sum_images(
    model: VAE, x_BCHW: Tensor, eps_BD: Tensor, noise: torch.Generator, log_px: ChunkBound
) -> Sums:
    """The sums over a few images, with one posterior sample of each by its noise."""
    mu_BD, logvar_BD = model.encode(x_BCHW)
    z_BD = model.reparameterize(mu_BD, logvar_BD, eps_BD)
    return Sums(
        len(x_BCHW),
        -sum_log_px(model, x_BCHW, z_BD),
        float(gaussian_kl(mu_BD, logvar_BD).double().sum()),
        log_px(x_BCHW, mu_BD, logvar_BD, noise),
        mu_BD.double().sum(0).cpu(),
        mu_BD.double().square().sum(0).cpu(),
        gaussian_kl_BD(mu_BD, logvar_BD).double().sum(0).cpu(),
    )


def sum_log_px(model: VAE, x_BCHW: Tensor, z_BD: Tensor) -> float:
    """log p(x|z) in nats, summed over images, of which no more are decoded than memory holds."""
    at_once = model.decoded_at_once
    parts = zip(torch.split(x_BCHW, at_once), torch.split(z_BD, at_once), strict=True)
    return sum(
        float(model.likelihood.log_prob(x_bCHW, model.decode(z_bD)[None]).double().sum())
        for x_bCHW, z_bD in parts
    )
