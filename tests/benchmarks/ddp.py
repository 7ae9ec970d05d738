"""What data parallelism costs: a step with 1, 2 and 4 workers, and its all-reduce alone.

Workers are processes with one thread each, joined by gloo; the global batch stays the same, so
that each does a part of it. More workers than cores share them, which the table shows.
"""

import statistics
import time
from collections.abc import Callable

import torch
import torch.distributed as dist

from tests.benchmarks.table import lines
from tests.support.distributed import spawned
from vae.data.placement import Resident
from vae.experiments.settings import ModelConfig, ObjectiveConfig, TrainConfig
from vae.models.networks import build_model
from vae.training.batches import BatchPlan, Shard
from vae.training.cpu import set_up_cpu
from vae.training.fit import wrap_data_parallel
from vae.training.step import StepContext, average, create_state, train_step

WORLDS, BATCHES, STEPS = (1, 2, 4), (128, 512, 2048), 60
SHAPE = (1, 28, 28)


def on_rank(rank: int, world: int, batch_size: int) -> list[float]:
    """Median seconds of a step, of one without its all-reduce, and of the all-reduce alone."""
    set_up_cpu()
    config = TrainConfig(batch_size=batch_size)
    state = create_state(build_model(ModelConfig(), SHAPE), config, torch.device("cpu"))
    forward = wrap_data_parallel(state.model, torch.device("cpu"))
    plan = BatchPlan(seed=0, batch_size=batch_size, samples=1, latent_dim=20, binarize=True)
    images = torch.randint(0, 256, (batch_size, *SHAPE), dtype=torch.uint8)
    (batch,) = plan.draw_epoch(Resident(images), 0, Shard(rank, world))
    context = StepContext(config, ObjectiveConfig(), 1, Shard(rank, world))
    gradients = torch.zeros(sum(p.numel() for p in state.model.parameters()))

    def step(model: torch.nn.Module) -> None:
        train_step(state, model, batch, context)
        average(state, config)

    return [
        median_s(lambda: step(forward)),
        median_s(lambda: step(state.model)),
        median_s(lambda: dist.all_reduce(gradients)),
    ]


def median_s(work: Callable[[], object]) -> float:
    """Median seconds of one call; every rank calls it, and starts with the others."""
    seconds = []
    for _ in range(STEPS):
        dist.barrier()
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[5:])


def main() -> None:
    """Print the table: milliseconds, the slowest rank's."""
    rows: list[list[object]] = []
    for batch_size in BATCHES:
        for world in WORLDS:
            slowest = [
                max(times) for times in zip(*spawned(world, on_rank, batch_size), strict=True)
            ]
            rows.append([batch_size, world, *(1e3 * seconds for seconds in slowest)])
    print(lines(["global batch", "workers", "step ms", "without all-reduce", "all-reduce"], rows))


if __name__ == "__main__":
    main()
