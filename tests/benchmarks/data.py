"""A set larger than memory: what prepares it and what trains on it hold, and how fast that is.

Where nothing limits its memory, the set lies in the kernel's cache. In a memory cgroup of a quarter
of `--gigabytes`, batches come from the disk. Before, as root, with GROUP /sys/fs/cgroup/memory/NAME
and FILE memory.limit_in_bytes (v1), or /sys/fs/cgroup/NAME and memory.max (v2):
`mkdir GROUP; echo BYTES > GROUP/FILE; echo $$ > GROUP/cgroup.procs`.
"""

import argparse
import itertools
import multiprocessing
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

from tests.benchmarks.disk import read_in_order, read_rows
from tests.benchmarks.memory import read_held, watch_peak
from tests.benchmarks.table import lines, medians
from vae.data.datasets import DatasetRef, prepare
from vae.data.mapped import open_rows
from vae.data.paging import release
from vae.data.placement import Placed, Resident
from vae.data.rows import Rows
from vae.data.shards import find_shards
from vae.experiments.loading import parse_experiment
from vae.experiments.settings import DataConfig
from vae.store.open import open_store
from vae.training.cpu import set_up_cpu
from vae.training.fit import Fit

SIDE = 64
NETWORKS = {
    "ImprovedVAE": {"kind": "ImprovedVAE", "hidden": [400], "latent_dim": 20},
    "ConvVAE": {"kind": "ConvVAE", "channels": [16, 32], "latent_dim": 20},
}
SOME = 2_048  # images that are timed, of an epoch over all
REPEATS = 5


def write_images(path: Path, gigabytes: float) -> int:
    """A .npy file of noise; how many images."""
    n_images = int(gigabytes * 1e9 / (3 * SIDE * SIDE))
    shape = (n_images, 3, SIDE, SIDE)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    draw = np.random.default_rng(0)
    for start in range(0, n_images, 1000):
        array[start : start + 1000] = draw.integers(
            0, 256, array[start : start + 1000].shape, dtype=np.uint8
        )
        release(array)
    return n_images


def compare(
    kind: str, train: Rows, val: Rows, device: torch.device
) -> tuple[list[object], list[object]]:
    """Rows of the tables: images/s of some batches, in memory and from the shards; megabytes."""
    named = {"name": "large", "data": {"binarize": "none"}, "model": NETWORKS[kind]}
    experiment, peak = parse_experiment(named), list[float]()
    epochs = itertools.count()  # other images each time: those of before are in memory

    def train_on(images: Placed) -> None:
        steps = SOME // fit.plan.batch_size
        first = len(images) // fit.plan.batch_size - steps  # none is gathered that is not used
        batches = fit.plan.draw_epoch(images, next(epochs), fit.context.shard, first)
        for batch in itertools.islice(batches, steps):
            fit.step(fit.state, fit.state.model, batch, fit.context)

    with watch_peak(peak):
        fit = Fit(experiment, train, val, device, share=0)
        train_on(fit.train)
    in_memory = Resident(train[:SOME].to(device))
    contenders = {"memory": lambda: train_on(in_memory), "shards": lambda: train_on(fit.train)}
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    seconds = medians(contenders, REPEATS, wait)
    speeds = {name: SOME / taken for name, taken in seconds.items()}
    weights = sum(one.nbytes for one in fit.state.model.parameters()) / 1e6
    share = speeds["shards"] / speeds["memory"]
    # of the model: weights, their average, gradients and two moments
    return [kind, speeds["memory"], speeds["shards"], share], [kind, 5 * weights, peak[0]]


def measure_disk(shards: list[Path]) -> list[list[object]]:
    """Rows of a table: what the disk gives of shards that nobody has mapped yet, the median."""
    row_bytes = 3 * SIDE * SIDE
    rates = {
        how: statistics.median(read(shard, row_bytes) for shard in shards)
        for how, read in {"in order": read_in_order, "at random": read_rows}.items()
    }
    return [[how, rate * row_bytes / 1e6, rate] for how, rate in rates.items()]


def make_set(folder: Path, gigabytes: float) -> DatasetRef:
    """A set of noise in a folder's store; print how it was made, and what the disk gives."""
    path, store = folder / "noise.npy", open_store(f"{folder}/store")
    n_images, peak = write_images(path, gigabytes), list[float]()
    began = time.time()
    with watch_peak(peak):
        ref = prepare(DataConfig(name=str(path), validation=256), store)
    made: list[object] = ["prepare", time.time() - began, peak[0]]
    path.unlink()
    print(f"{n_images:,} images, {gigabytes} GB\n")
    print(lines(["what", "s", "peak MB"], [made]), end="\n\n")
    shards = [folder / "store" / ref.key / file for file in find_shards("train", ref.files)]
    print(lines(["of the disk", "MB/s", "images/s"], measure_disk(shards[:3])), end="\n\n")
    return ref


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.2, help="of the set")
    parser.add_argument("--networks", nargs="+", default=[*NETWORKS], choices=[*NETWORKS])
    given, _ = parser.parse_known_args()
    imported = read_held()
    with tempfile.TemporaryDirectory() as name:
        os.environ["VAE_CACHE"] = f"{name}/cache"
        # Another process, so that what it leaves in its heap takes no room from what trains.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
            ref = apart.submit(make_set, Path(name), given.gigabytes).result()
        set_up_cpu()
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        store = open_store(f"{name}/store")
        train, val = (open_rows(ref, store, split) for split in ("train", "val"))
        compared = [compare(kind, train, val, device) for kind in given.networks]
    columns = ["network", "images/s in memory", "images/s from shards", "share"]
    print(lines(columns, [speeds for speeds, _ in compared]), end="\n\n")
    held: list[object] = ["before, torch and all else imported", 0.0, imported]
    print(lines(["MB", "of the model", "at most"], [held, *(sizes for _, sizes in compared)]))
    print(f"\non a {device.type}")


if __name__ == "__main__":
    main()
