"""What the importance-weighted bound costs per image, K = 5000, beside what it could cost.

`python -m tests.benchmarks.likelihood` trains a 784-512-20 model for three epochs and prints one
table per number of threads. A few images at a time are timed by every row in turn, so that ratios
hold on a machine that others use too.
"""

import copy
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.benchmarks.table import lines
from tests.support.splits import load
from vae.data.binarization import prepare_inputs
from vae.data.datasets import prepare
from vae.experiments.loading import load_experiment
from vae.experiments.settings import Overrides
from vae.models.importance_bound import choose_block, importance_bound
from vae.models.networks import VAE
from vae.store.open import open_store
from vae.training.cpu import set_up_cpu
from vae.training.fit import Fit

SAMPLES = 5000  # K
SETTINGS: Overrides = {
    "model.hidden": [512],
    "model.latent_dim": 20,
    "model.activation": "relu",
    "train.epochs": 3,
}
TIMED_IMAGES = 100
TURN_IMAGES = 5  # timed at once; an evaluation encodes a chunk of 250 at once
COMPARED_IMAGES = 500
COPIES = 100  # of the image, in one pass of the loop

Bound = Callable[[Tensor], object]  # of images [B, C, H, W]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to compute the bound, or a part of it."""

    name: str
    seconds: float  # per image, the median
    loop_ratio: float  # times faster than the loop
    products_ratio: float  # times slower than the decoder's float32 products
    shift_nats: float | None = None  # of the mean bound, for equal noise, against float32


class Cast(nn.Module):
    """What enters leaves in another precision."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        """`x` in that precision."""
        return x.to(self.dtype)


def in_bfloat16(model: VAE) -> VAE:
    """The model with its decoder's weights, products and activations in bfloat16."""
    other = copy.deepcopy(model)
    other.decoder = nn.Sequential(
        Cast(torch.bfloat16), other.decoder.bfloat16(), Cast(torch.float32)
    )
    return other


def trained_model() -> tuple[VAE, Tensor]:
    """A model worth judging, and the test images as it sees them, float32 [N, C, H, W]."""
    experiment = load_experiment("mnist", SETTINGS)
    with tempfile.TemporaryDirectory(prefix="vae-bench-") as folder:
        store = open_store(folder)
        ref = prepare(experiment.data, store)
        train, val, test = (
            torch.as_tensor(load(ref, store, split).images) for split in ("train", "val", "test")
        )
    fit = Fit(experiment, train, val, torch.device("cpu"))
    for _ in range(experiment.train.epochs):
        fit.run_epoch(fit.state.model, lambda step: None)
    return fit.state.averaged.eval(), prepare_inputs(test, experiment.data)[:].float()


def loop(model: VAE) -> Bound:
    """What libraries ship: encode K copies of the image in small batches, score probabilities."""

    def log_normal(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        squares = (z - mu) ** 2 / logvar.exp()
        return -0.5 * (math.log(2 * math.pi) + logvar + squares).sum(1)

    def bound(x_1CHW: Tensor) -> float:
        log_weights = []
        for _ in range(SAMPLES // COPIES):
            x = x_1CHW.repeat(COPIES, 1, 1, 1)
            mu, logvar = model.encode(x)
            z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
            pixels = torch.sigmoid(model.decode(z))
            errors = F.binary_cross_entropy(pixels, x, reduction="none").flatten(1).sum(1)
            prior = log_normal(z, torch.zeros_like(z), torch.zeros_like(z))
            log_weights.append(prior - errors - log_normal(z, mu, logvar))
        return float(torch.logsumexp(torch.cat(log_weights), dim=0)) - math.log(SAMPLES)

    return lambda x_BCHW: [bound(x_1CHW) for x_1CHW in torch.split(x_BCHW, 1)]


def products(model: VAE, dtype: torch.dtype) -> Bound:
    """The decoder's matrix products for K latent vectors, in blocks as `ours`, and nothing else."""
    layers = [layer for layer in model.decoder.modules() if isinstance(layer, nn.Linear)]
    weights = [layer.weight.to(dtype).T for layer in layers]
    z_KD = torch.randn(SAMPLES, model.latent_dim).to(dtype)

    def multiply(x_BCHW: Tensor) -> None:
        for _ in x_BCHW:
            for block in z_KD.chunk(-(-SAMPLES // choose_block(model, x_BCHW))):
                for weight in weights:
                    block = block @ weight

    return multiply


def ours(model: VAE) -> Callable[[Tensor], Tensor]:
    """The bound of any number of images, [B], with the same noise at every call."""

    def bound(x_BCHW: Tensor) -> Tensor:
        noise = torch.Generator().manual_seed(0)
        block = choose_block(model, x_BCHW)
        mu_BD, logvar_BD = model.encode(x_BCHW)
        return importance_bound(
            model, x_BCHW, mu_BD, logvar_BD, noise, samples=SAMPLES, block=block
        )

    return bound


def medians_s(cases: dict[str, Bound], images: Tensor) -> dict[str, float]:
    """Median seconds per image of every case, all of them on a few images before the next."""
    times_s: dict[str, list[float]] = {name: [] for name in cases}
    for x_BCHW in torch.split(images, TURN_IMAGES):
        for name, case in cases.items():
            began = time.perf_counter()
            case(x_BCHW)
            times_s[name].append((time.perf_counter() - began) / len(x_BCHW))
    return {name: statistics.median(each) for name, each in times_s.items()}


@torch.no_grad()
def rows(model: VAE, images_NCHW: Tensor, shift_nats: float) -> list[Row]:
    """Every row of the table, at the present number of threads."""
    half = in_bfloat16(model)
    cases: dict[str, Bound] = {
        "loop, re-encoding copies": loop(model),
        "decoder products": products(model, torch.float32),
        "decoder products, bfloat16": products(model, torch.bfloat16),
        "ours": ours(model),
        "ours, decoder in bfloat16": ours(half),
    }
    seconds = medians_s(cases, images_NCHW[:TIMED_IMAGES])
    loop_s, products_s, *_ = seconds.values()
    shifts = {"ours, decoder in bfloat16": shift_nats}
    return [
        Row(
            name=name,
            seconds=each_s,
            loop_ratio=loop_s / each_s,
            products_ratio=each_s / products_s,
            shift_nats=shifts.get(name),
        )
        for name, each_s in seconds.items()
    ]


@torch.no_grad()
def bfloat16_shift_nats(model: VAE, images_NCHW: Tensor) -> float:
    """By how much a decoder in bfloat16 moves the mean bound, for the same noise."""
    images = images_NCHW[:COMPARED_IMAGES]
    return float((ours(in_bfloat16(model))(images) - ours(model)(images)).double().mean())


def table(measured: list[Row]) -> str:
    """One line per row under one line of headings."""
    columns = ["what", "s/image", "× loop's speed", "× products' time", "shift, nats"]
    shifts = ["" if row.shift_nats is None else f"{row.shift_nats:.5f}" for row in measured]
    cells = [(r.name, r.seconds, r.loop_ratio, r.products_ratio) for r in measured]
    return lines(columns, [[*row, shift] for row, shift in zip(cells, shifts, strict=True)])


def main() -> None:
    """Train, compare, and print a table for one thread and one for all of them."""
    set_up_cpu()  # as a worker does; the loop and the bare products have it as well
    threads = torch.get_num_threads()
    model, images_NCHW = trained_model()
    shift_nats = bfloat16_shift_nats(model, images_NCHW)
    for n in sorted({1, threads}):
        torch.set_num_threads(n)
        print(f"threads: {n}, K = {SAMPLES}", table(rows(model, images_NCHW, shift_nats)), sep="\n")


if __name__ == "__main__":
    main()
