"""Where each second between `vae train` and its first step goes, and what Ray Train takes of it."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ray
import torch
import torch.distributed as dist
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from torch.nn.parallel import DistributedDataParallel

from tests.benchmarks.table import lines
from vae.cluster.session import Workers, join_cluster
from vae.cluster.trainer import Trainer
from vae.runs.run import open_run
from vae.store.open import open_store
from vae.training.cpu import set_up_cpu

VAE = Path(sys.executable).with_name("vae")
TRAIN = ["train", "--experiment", "tiny", "--set", "search.trials=0", "--workers", "2"]
MODULES = ("flows.cli", "torch", "ray.train.torch", "prefect", "wandb", "flows.pipeline")


def import_s(module: str) -> float:
    """Seconds that a fresh process takes to import a module, the interpreter's start included."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return time.perf_counter() - began


def milestones(folder: Path) -> list[tuple[str, float]]:
    """What one `vae train` reached, and when: seconds since it was started."""
    began, reached = time.time(), []
    command = [str(VAE), *TRAIN, "--store", str(folder), "--run-id", "bench"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.split()[:1] in (["run"], ["data"], ["search"]):
                reached.append((f"`{line.split()[0]}` is printed", time.time() - began))
    run = open_run(open_store(str(folder)), "bench", None)
    trained = run.read_result("train")
    assert trained is not None
    reached.append(("the first step begins", trained["history"][0]["began"] - began))
    reached.append(("the last epoch has ended", trained["history"][-1]["ended"] - began))
    return [*reached, ("the command ends", time.time() - began)]


def step_once(_: dict[str, Any]) -> None:
    """One step of the least model under DDP."""
    set_up_cpu()
    model = DistributedDataParallel(torch.nn.Linear(1, 1))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 1)).sum().backward()
    optimizer.step()


def fit_with_train(trainer: type[TorchTrainer], folder: str) -> None:
    """The least training that Ray Train runs with two workers."""
    trainer(
        step_once,
        train_loop_config={},
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(name=f"fit-{time.time_ns()}", storage_path=folder),
    ).fit()


class Rank:
    """One of two plain actors, whose group stays for the next training."""

    def join(self, rank: int, file: str) -> None:
        """Join the group, which meets at a file. Collective."""
        dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)

    def fit(self) -> None:
        """The same training. Collective."""
        step_once({})


def start_group(folder: str) -> list[Any]:
    """Two actors that have formed a group."""
    group = [ray.remote(num_cpus=1)(Rank).remote() for _ in range(2)]
    ray.get([actor.join.remote(rank, f"{folder}/met") for rank, actor in enumerate(group)])
    return group


def compare_groups() -> list[list[object]]:
    """Seconds of the least training, first and again in one session: Ray Train, plain actors.

    Ray Train with its controller here, as in a run, and with Ray's own.
    """
    with (
        tempfile.TemporaryDirectory(prefix="vae-bench-") as folder,
        join_cluster(Workers()) as joining,
    ):
        joining.result()
        rows: list[list[object]] = []
        for trainer in (Trainer, Trainer, TorchTrainer, TorchTrainer):
            seconds = measure_s(partial(fit_with_train, trainer, folder))
            rows.append([f"{trainer.__module__}.{trainer.__qualname__}", seconds])
        group: list[Any] = []
        rows.append(["a group of actors", measure_s(lambda: group.extend(start_group(folder)))])
        for what in ("its first training", "its second"):
            rows.append([what, measure_s(lambda: ray.get([actor.fit.remote() for actor in group]))])
        return rows


def measure_s(work: Callable[[], object]) -> float:
    """How long it takes, in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Print the tables; the second `vae train` finds Prefect's database made and files cached."""
    rows: list[list[object]] = [[f"import {name}", import_s(name)] for name in MODULES]
    print(lines(["fresh process", "s"], rows))
    for title in ("first", "second"):
        with tempfile.TemporaryDirectory(prefix="vae-bench-") as folder:
            rows = [[what, seconds] for what, seconds in milestones(Path(folder))]
        print("\n" + lines([f"`vae {' '.join(TRAIN)}`, {title}", "s since its start"], rows))
    print("\n" + lines(["one step of a linear layer, 2 workers", "s"], compare_groups()))


if __name__ == "__main__":
    main()
