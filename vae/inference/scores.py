"""How likely each image is under a model: an anomaly score."""

import csv
import io
from collections.abc import Iterable

import torch
from torch import Tensor

from vae.data.binarization import prepare_alone
from vae.evaluation.bounds import to_bits_per_dim
from vae.experiments.settings import DataConfig
from vae.inference.images import Batch
from vae.models.densities import gaussian_kl
from vae.models.importance_bound import choose_block, importance_bound
from vae.models.networks import VAE
from vae.models.seeds import derive_seed


def score(model: VAE, batches: Iterable[Batch], data: DataConfig, samples: int, seed: int) -> str:
    """A CSV with a row an image: its importance-weighted bound, and its rate.

    `nll` is minus the bound on log p(x) in nats with `samples` posterior samples: the higher, the
    less like what the model was trained on. `rate` is KL(q‖p) in nats; `bits_per_dim` is there
    where the bound is the length of a code. The same arguments give the same text.
    """
    buffer = io.StringIO()
    rows = csv.writer(buffer, lineterminator="\n")
    bits = ["bits_per_dim"] if model.config.has_bits(data.binarize) else []
    rows.writerow(["image", "nll", "rate", *bits])
    noise = torch.Generator().manual_seed(derive_seed(seed, "score"))
    for batch in batches:
        nll_B, rate_B = bound_images(model, batch.images, data, samples, noise)
        for name, nll, rate in zip(batch.names, nll_B.tolist(), rate_B.tolist(), strict=True):
            shown = [f"{to_bits_per_dim(nll, model.shape):.6f}"] if bits else []
            rows.writerow([name, f"{nll:.4f}", f"{rate:.4f}", *shown])
    return buffer.getvalue()


@torch.no_grad()
def bound_images(
    model: VAE, images: Tensor, data: DataConfig, samples: int, noise: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Of each uint8 image its negative bound and its rate, [B] each, in nats."""
    x_BCHW = prepare_alone(images, data).to(model.dtype)
    mu_BD, logvar_BD = model.encode(x_BCHW)
    bound_B = importance_bound(
        model,
        x_BCHW,
        mu_BD,
        logvar_BD,
        noise,
        samples=samples,
        block=choose_block(model, x_BCHW),
    )
    return -bound_B, gaussian_kl(mu_BD, logvar_BD)
