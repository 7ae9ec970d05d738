"""How good a model is, in nats: sums over images, exact for any sharding, reduced once.

An evaluation split is cut into fixed chunks, and noise is keyed by chunk, so the result depends
neither on the number of workers nor on which of them took which chunk.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from vae.batches import seed_of
from vae.densities import bernoulli_log_prob, standard_normal_log_prob
from vae.models import VAE
from vae.objectives import elbo

CHUNK_IMAGES = 250
ACTIVE_VARIANCE = 0.01  # Burda et al. 2016: a unit is active if Var over x of E[z|x] exceeds it


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How the test split is judged."""

    samples: int = 500  # K of the importance-weighted bound on log p(x)
    block: int = 2048  # latent vectors decoded at once: fill the cache or the device
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1 or self.block < 1:
            raise ValueError(
                f"samples is {self.samples} and block {self.block}, both must be at least 1"
            )


@dataclass(frozen=True)
class Sums:
    """Float64 sums over images; add those of any shards, then take `metrics` once."""

    count: int
    distortion: float  # nats
    rate: float  # nats
    log_px: float  # nats, importance-weighted; 0 where it was not asked for
    mu_D: Tensor
    mu_squared_D: Tensor

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.count + other.count,
            self.distortion + other.distortion,
            self.rate + other.rate,
            self.log_px + other.log_px,
            self.mu_D + other.mu_D,
            self.mu_squared_D + other.mu_squared_D,
        )

    def to_tensor(self) -> Tensor:
        """All sums in one float64 vector [4 + 2D], for one all-reduce."""
        head = [self.count, self.distortion, self.rate, self.log_px]
        return torch.cat([torch.tensor(head, dtype=torch.float64), self.mu_D, self.mu_squared_D])

    @staticmethod
    def from_tensor(flat: Tensor) -> "Sums":
        """Undo `to_tensor`."""
        count, distortion, rate, log_px = flat[:4].tolist()
        mu_D, mu_squared_D = flat[4:].chunk(2)
        return Sums(round(count), distortion, rate, log_px, mu_D, mu_squared_D)

    @staticmethod
    def zero(latent_dim: int) -> "Sums":
        """The sums of no images."""
        return Sums.from_tensor(torch.zeros(4 + 2 * latent_dim, dtype=torch.float64))

    def elbo_metrics(self) -> dict[str, float]:
        """Means over images: negative ELBO with its rate and distortion (nats), active units."""
        distortion, rate = self.distortion / self.count, self.rate / self.count
        variance_D = self.mu_squared_D / self.count - (self.mu_D / self.count).square()
        return {
            "nelbo": distortion + rate,
            "rate": rate,
            "distortion": distortion,
            "active_units": float((variance_D > ACTIVE_VARIANCE).sum()),
        }

    def metrics(self, config: EvaluationConfig, pixels: int) -> dict[str, float]:
        """ELBO metrics, and the bound with its K: `nll` (nats), `nll_samples`, `bits_per_dim`."""
        nll = -self.log_px / self.count
        return self.elbo_metrics() | {
            "nll": nll,
            "nll_samples": float(config.samples),
            "bits_per_dim": nll / (pixels * math.log(2)),
        }


def chunks(n_images: int) -> int:
    """Into how many fixed chunks a split of n images falls."""
    return -(-n_images // CHUNK_IMAGES)


def elbo_sums(model: VAE, images_NCHW: Tensor, indices: Iterable[int], seed: int) -> Sums:
    """ELBO sums over the named chunks, one posterior sample per image and the closed-form KL.

    `images_NCHW`: the whole split, uint8 0/1 if binarised, else grey levels as float in [0, 1].
    """
    return total(model, images_NCHW, indices, seed, lambda *_: 0.0)


def likelihood_sums(
    model: VAE, images_NCHW: Tensor, indices: Iterable[int], config: EvaluationConfig
) -> Sums:
    """As `elbo_sums`, with the K-sample importance-weighted bound on log p(x) as well."""

    def log_px(x_BCHW: Tensor, mu_BD: Tensor, logvar_BD: Tensor, noise: torch.Generator) -> float:
        bound_B = importance_bound(model, x_BCHW, mu_BD, logvar_BD, config, noise)
        return float(bound_B.double().sum())

    return total(model, images_NCHW, indices, config.seed, log_px)


ChunkBound = Callable[[Tensor, Tensor, Tensor, torch.Generator], float]


@torch.no_grad()
def total(
    model: VAE, images_NCHW: Tensor, indices: Iterable[int], seed: int, log_px: ChunkBound
) -> Sums:
    """Sum over chunks; each chunk's noise comes from its own generator on the model's device."""
    at = next(model.parameters())
    sums = Sums.zero(model.latent_dim)
    noise = torch.Generator(at.device)
    for index in indices:
        noise.manual_seed(seed_of(seed, "evaluate", index))
        x_BCHW = images_NCHW[index * CHUNK_IMAGES :][:CHUNK_IMAGES].to(at.device, at.dtype)
        eps_KBD = torch.randn(
            (1, len(x_BCHW), model.latent_dim), generator=noise, device=at.device, dtype=at.dtype
        )
        terms = elbo(model(x_BCHW, eps_KBD))
        mu_BD, logvar_BD = model.encode(x_BCHW)
        sums += Sums(
            len(x_BCHW),
            float(terms.distortion_B.double().sum()),
            float(terms.rate_B.double().sum()),
            log_px(x_BCHW, mu_BD, logvar_BD, noise),
            mu_BD.double().sum(0).cpu(),
            mu_BD.double().square().sum(0).cpu(),
        )
    return sums


def importance_bound(
    model: VAE,
    x_BCHW: Tensor,
    mu_BD: Tensor,
    logvar_BD: Tensor,
    config: EvaluationConfig,
    noise: torch.Generator,
) -> Tensor:
    """log 1/K sum_k p(x, z_k) / q(z_k|x), [B] in nats (Burda et al. 2016, arXiv:1509.00519).

    The encoder has run once per image; the decoder runs in blocks of about `config.block` latent
    vectors, and the logsumexp is streamed, so memory does not grow with K.
    """
    log_sum_B = torch.full_like(mu_BD[:, 0], -math.inf)
    at_once = max(1, config.block // len(x_BCHW))
    for start in range(0, config.samples, at_once):
        k = min(at_once, config.samples - start)
        eps_KBD = torch.randn(
            (k, *mu_BD.shape), generator=noise, device=mu_BD.device, dtype=mu_BD.dtype
        )
        z_KBD = model.reparameterize(mu_BD, logvar_BD, eps_KBD)
        logits = model.decode(z_KBD.flatten(0, 1)).view(*z_KBD.shape[:2], *model.shape)
        log_qz_KB = standard_normal_log_prob(eps_KBD) - 0.5 * logvar_BD.sum(-1)
        log_weights_KB = (
            bernoulli_log_prob(x_BCHW, logits) + standard_normal_log_prob(z_KBD) - log_qz_KB
        )
        log_sum_B = torch.logaddexp(log_sum_B, torch.logsumexp(log_weights_KB, dim=0))
    return log_sum_B - math.log(config.samples)
