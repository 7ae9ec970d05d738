"""Training speed against the loop that people write and against the floor of the hardware.

`python -m tests.benchmarks.training`, on the GPU if there is one; needs torch, torchvision, numpy
and Pillow alone. Images are random bytes: no step's time depends on what is in them. The process
keeps the memory that it frees, as a worker does, for the loop and the floor as well.
"""

import sys
from collections.abc import Callable

import torch
from torch import Tensor

from tests.benchmarks import common_loop, floor
from tests.benchmarks.table import lines, medians
from vae.data.placement import Resident
from vae.experiments.settings import ModelConfig, ObjectiveConfig, TrainConfig
from vae.models.levels import Moments
from vae.models.networks import build_model
from vae.training.batches import BatchPlan, Shard
from vae.training.cpu import set_up_cpu
from vae.training.cuda_graph import choose_step
from vae.training.step import StepContext, create_state, train_epoch

NETWORKS = {
    "ImprovedVAE": ModelConfig(kind="ImprovedVAE", hidden=(400,), latent_dim=20, activation="relu"),
    "ConvVAE": ModelConfig(
        kind="ConvVAE", channels=(32, 64), hidden=(256,), latent_dim=20, activation="relu"
    ),
}
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
EPOCH = 60_000  # images, for the column of seconds
SHAPE = (1, 28, 28)
MOMENTS = Moments(torch.full(SHAPE, 0.13), torch.full(SHAPE, 0.1))


def engine_epoch(
    kind: str, precision: str, images_NCHW: Tensor, batch_size: int
) -> Callable[[], None]:
    """One epoch of the engine, as a function to time."""
    config = TrainConfig(batch_size=batch_size, precision=precision)  # type: ignore[arg-type]
    model = build_model(NETWORKS[kind], SHAPE, MOMENTS)
    state = create_state(model, config, images_NCHW.device)
    plan = BatchPlan(
        seed=0, batch_size=batch_size, samples=1, latent_dim=model.latent_dim, binarize=True
    )
    steps, step = plan.count_steps(len(images_NCHW)), choose_step(images_NCHW.device, Shard())
    context = StepContext(config, ObjectiveConfig(), steps, Shard())

    def epoch() -> None:
        batches = plan.draw_epoch(Resident(images_NCHW), state.epoch, Shard())
        train_epoch(state, state.model, batches, context, step)

    return epoch


def floor_epoch(
    kind: str, precision: str, images_NCHW: Tensor, batch_size: int
) -> Callable[[], None]:
    """The floors of as many steps as an epoch of the images has."""
    model = build_model(NETWORKS[kind], SHAPE).to(images_NCHW.device)
    step = floor.step_of(model, batch_size, PRECISIONS[precision])
    steps = -(-len(images_NCHW) // batch_size)

    def epoch() -> None:
        for _ in range(steps):
            step()

    return epoch


def compare(kind: str, batch_size: int, n_images: int, device: torch.device) -> list[list[object]]:
    """Rows of the table for one network and batch size: the loop, then floor and engine.

    On a GPU these two take an epoch of MNIST's length, or its beginning and end would be most of
    what is timed, in whole batches; the loop takes `n_images` on any device.
    """
    n_more = EPOCH // batch_size * batch_size if device.type == "cuda" else n_images
    images_NCHW = torch.randint(0, 256, (n_more, *SHAPE), dtype=torch.uint8).to(device)
    loop = common_loop.epoch_of(kind, images_NCHW[:n_images], batch_size, device)
    contenders = {"common loop": loop}
    for precision in PRECISIONS:
        for name, make in (("floor", floor_epoch), ("engine", engine_epoch)):
            contenders[f"{name} {precision}"] = make(kind, precision, images_NCHW, batch_size)
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    seconds = {
        name: s * EPOCH / (n_images if name == "common loop" else n_more)
        for name, s in medians(contenders, wait=wait).items()
    }
    rows: list[list[object]] = []
    for name, s in seconds.items():
        over = s / seconds[f"floor {name.split()[1]}"] if name.startswith("engine") else ""
        rows.append([kind, batch_size, name, s, EPOCH / s, seconds["common loop"] / s, over])
    return rows


def main() -> None:
    """Print the table."""
    set_up_cpu()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sizes = {"ImprovedVAE": 12_800, "ConvVAE": 5_120}
    batches: tuple[int, ...] = (128, 512)
    if device.type == "cuda":  # where nothing but the loop takes so few images
        sizes, batches = dict.fromkeys(NETWORKS, 2_560), (128, 512, 4096)
    rows = []
    for kind, n_images in sizes.items():
        for batch_size in batches:
            rows += compare(kind, batch_size, max(n_images, batch_size), device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}", file=sys.stderr)
    columns = [
        "network",
        "batch",
        "what",
        "s/epoch",
        "images/s",
        "× loop's speed",
        "× floor's time",
    ]
    print(lines(columns, rows))


if __name__ == "__main__":
    main()
