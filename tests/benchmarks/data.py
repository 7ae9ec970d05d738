"""A set larger than memory: what prepares it and what trains on it hold, and how fast that is.

Where nothing limits its memory, the set lies in the kernel's cache. In a memory cgroup of a quarter
of `--gigabytes`, batches come from the disk: `echo $$ > /sys/fs/cgroup/NAME/cgroup.procs` before.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from tests.benchmarks.memory import read_held, watch_peak
from tests.benchmarks.table import lines, medians
from vae.data.datasets import prepare
from vae.data.mapped import open_rows
from vae.data.paging import release
from vae.data.placement import Gathered, Placed, Resident
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


def compare(kind: str, fit: Fit, device: torch.device) -> list[object]:
    """Images/s of some batches: in one array in memory, and gathered from the shards."""
    rows = fit.train.rows if isinstance(fit.train, Gathered) else None
    assert rows is not None
    in_memory, state = Resident(rows[:SOME].to(device)), fit.state

    def train_on(images: Placed) -> None:
        for number, batch in enumerate(fit.plan.draw_epoch(images, 0, fit.context.shard)):
            if number == SOME // fit.experiment.train.batch_size:
                return
            fit.step(state, state.model, batch, fit.context)

    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    peak: list[float] = []
    with watch_peak(peak):
        train_on(fit.train)
    contenders = {"memory": lambda: train_on(in_memory), "shards": lambda: train_on(fit.train)}
    seconds = medians(contenders, repeats=3, wait=wait)
    speeds = {name: SOME / taken for name, taken in seconds.items()}
    share = speeds["shards"] / speeds["memory"]
    return [kind, speeds["memory"], speeds["shards"], share, peak[0]]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.2, help="of the set")
    given, _ = parser.parse_known_args()
    set_up_cpu()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as name:
        os.environ["VAE_CACHE"] = f"{name}/cache"
        path, store = Path(name, "noise.npy"), open_store(f"{name}/store")
        n_images, peak = write_images(path, given.gigabytes), list[float]()
        began = time.time()
        with watch_peak(peak):
            ref = prepare(DataConfig(name=str(path), validation=256), store)
        taken = time.time() - began
        print(f"{n_images:,} images, {given.gigabytes} GB, {device.type}", file=sys.stderr)
        path.unlink()
        print(lines(["what", "s", "peak MB"], [["prepare", taken, peak[0]]]), end="\n\n")
        table = []
        for kind, network in NETWORKS.items():
            experiment = parse_experiment(
                {"name": "large", "data": {"binarize": "none"}, "model": network}
            )
            train, val = (open_rows(ref, store, split) for split in ("train", "val"))
            table.append(compare(kind, Fit(experiment, train, val, device, share=0), device))
    columns = ["network", "images/s in memory", "images/s from shards", "share", "peak MB"]
    print(lines(columns, table))
    print(f"\nthis process holds {read_held():.0f} MB of its own")


if __name__ == "__main__":
    main()
