"""A folder of JPEGs made a dataset, against Pillow decoding the same files on all cores.

Speeds by the clock, and seconds of a core for each image, which hold on a machine that others use.
"""

import argparse
import itertools
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.benchmarks.memory import watch_peak
from tests.benchmarks.table import lines
from vae.data.datasets import prepare
from vae.experiments.settings import DataConfig
from vae.store.open import open_store

GRAIN, QUALITY = 8, 85


class Taken(NamedTuple):
    """Seconds by the clock, and of all cores, this process's children's too."""

    clock: float
    cores: float


def write_jpeg(folder: Path, side: int, number: int) -> None:
    """A picture of smooth colours with some grain, another for each number."""
    draw = np.random.default_rng(number)
    colours = draw.integers(0, 256, (side // GRAIN, side // GRAIN, 3), dtype=np.uint8)
    smooth = Image.fromarray(colours).resize((side, side), Image.Resampling.BICUBIC)
    grain = draw.integers(-8, 9, (side, side, 1))
    pixels = (np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder / f"{number:07}.jpg", quality=QUALITY)


def decode_plainly(size: int, path: Path) -> int:
    """What anyone's loader does with a file; how many levels there were."""
    with Image.open(path) as image:
        shown = image.convert("RGB")
        if size:
            shown = shown.resize((size, size), Image.Resampling.BICUBIC)
        return np.asarray(shown).size


def decode_all(folder: Path, size: int) -> None:
    """Every file, on all cores."""
    with multiprocessing.Pool() as pool:
        work = partial(decode_plainly, size)
        assert sum(pool.imap_unordered(work, folder.iterdir(), 100)) > 0


def prepare_all(folder: Path, size: int, peak: list[float]) -> None:
    """Make a dataset of the folder in a new store, without anything left from before."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        os.environ["VAE_CACHE"] = f"{name}/cache"
        config = DataConfig(name=str(folder), validation=100, size=size)
        with watch_peak(peak):
            prepare(config, open_store(f"{name}/store"))


def measure(work: Callable[[], object]) -> Taken:
    """The seconds that some work takes."""
    began, used = time.perf_counter(), count_cores()
    work()
    return Taken(time.perf_counter() - began, count_cores() - used)


def count_cores() -> float:
    """Seconds of cores used by now."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--side", type=int, default=256, help="pixels of a picture's side")
    parser.add_argument("--size", type=int, default=64, help="data.size as well; 0: no")
    parser.add_argument("--repeats", type=int, default=3)
    given, _ = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        folder, peak = Path(name, "jpegs"), list[float]()
        folder.mkdir()
        with multiprocessing.Pool() as pool:
            pool.map(partial(write_jpeg, folder, given.side), range(given.images), 100)
        contenders: dict[str, Callable[[], object]] = {
            "Pillow": partial(decode_all, folder, 0),
            "prepare, as they are": partial(prepare_all, folder, 0, peak),
        }
        if given.size:
            contenders |= {
                f"Pillow, size {given.size}": partial(decode_all, folder, given.size),
                f"prepare, size {given.size}": partial(prepare_all, folder, given.size, peak),
            }
        turns = itertools.product(range(given.repeats), contenders.items())
        taken = [(who, measure(work)) for _, (who, work) in turns]
    table = []
    for who in contenders:
        clock, cores = (
            statistics.median(one[at] for other, one in taken if other == who) for at in (0, 1)
        )
        table.append([who, given.images / clock, 1000 * cores / given.images])
    rows = [[*row, row[1] / table[0][1], table[0][2] / row[2]] for row in table]
    columns = ["what", "images/s", "ms of a core", "share of Pillow's speed", "of its cores"]
    print(f"{given.images:,} JPEGs of {given.side}×{given.side}, {os.cpu_count()} cores")
    print(lines(columns, rows))
    print(f"\nprepare holds {max(peak):.0f} MB at most")


if __name__ == "__main__":
    main()
