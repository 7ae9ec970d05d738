"""Several trials on one device: a step of each way that one process has, then whole searches.

The steps are of trainings of one shape at batch 128, in time of a core where there is no GPU; the
searches try the same candidates with the same training, in one Ray session, one after the other.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from tests.benchmarks.table import lines
from tests.support.images import draw_images
from tests.support.listeners import Silent
from tuning.search import search
from vae.cluster.session import Resources, Workers, join_cluster
from vae.data.datasets import prepare
from vae.data.placement import place_rows
from vae.experiments.loading import load_experiment
from vae.experiments.search import Range
from vae.runs.run import Run
from vae.store.open import open_store
from vae.training.cpu import set_up_cpu
from vae.training.fit import Fit
from vae.training.interleaved import train_interleaved
from vae.training.stacked import Stacks

TRAININGS, STEPS, REPEATS = 8, 10, 3
TRIALS = 8
WAYS: dict[str, dict[str, object]] = {
    "one at a time": {},
    "processes": {"trials_per_device": 4},
    "streams": {"trials_per_device": 4, "sharing": "streams"},
    "stacked": {"trials_per_device": 4, "sharing": "stacked"},
}


def train_in_turn(fits: Sequence[Fit]) -> None:
    """An epoch of each, one after the other."""
    for fit in fits:
        fit.run_epoch(fit.state.model, lambda step: None)


def build_fits(name: str, device: torch.device, seeds: Sequence[int]) -> list[Fit]:
    """Trainings of an experiment on a few batches, each at a rate of its own."""
    images = draw_images(STEPS * 128, (1, 28, 28))
    placed = place_rows(images, device)
    rates = [1e-3 * (1 + turn / 10) for turn in range(len(seeds))]
    settings = [
        {"train.learning_rate": rate, "train.batch_size": 128, "seed": seed}
        for rate, seed in zip(rates, seeds, strict=True)
    ]
    experiments = [load_experiment(name, one) for one in settings]
    return [Fit(one, images, images[:1], device, placed=placed) for one in experiments]


def time_steps(name: str) -> list[list[object]]:
    """Rows: milliseconds of a step of one training, in each way, the ways in turns."""
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    clock = time.perf_counter if on_gpu else time.process_time
    ways: dict[str, tuple[Callable[[Sequence[Fit]], object], Sequence[int]]] = {
        "one after the other": (train_in_turn, [0] * TRAININGS),
        "interleaved": (train_interleaved, [0] * TRAININGS),
        "stacked": (Stacks().train, [0] * TRAININGS),
        "stacked, seeds that differ": (Stacks().train, range(TRAININGS)),
    }
    fits = {way: build_fits(name, device, seeds) for way, (_, seeds) in ways.items()}
    spent: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(1 + REPEATS):  # the first fills caches
        for way, (train, _) in ways.items():
            began = clock()
            train(fits[way])
            spent[way].append((clock() - began) * 1e3 / TRAININGS / STEPS)
    best = {way: min(taken[1:]) for way, taken in spent.items()}
    first = best["one after the other"]
    return [[name, way, step_ms, first / step_ms] for way, step_ms in best.items()]


def time_searches(name: str, resources: Resources, folder: Path) -> list[list[object]]:
    """Rows: trials per minute of the search in each way."""
    store, per_minute = open_store(str(folder / "store")), dict[str, float]()
    for way, settings in WAYS.items():
        experiment = load_experiment(name, {"search.trials": TRIALS})
        config = replace(
            experiment.search,
            epochs=1,
            sampler="random",
            pruner="none",
            space={"train.learning_rate": Range(low=3e-4, high=5e-3, log=True)},
            **settings,  # type: ignore[arg-type]
        )
        run = Run(
            run_id=f"{name}-{way.replace(' ', '-')}",
            experiment=replace(experiment, search=config),
            created=datetime.now(UTC),
            store=store,
        )
        dataset = prepare(experiment.data, store)
        began = time.perf_counter()
        trials = search(run, dataset, resources, Silent())
        per_minute[way] = 60 * len(trials) / (time.perf_counter() - began)
    alone = per_minute["one at a time"]
    return [[name, way, found, found / alone] for way, found in per_minute.items()]


def main() -> None:
    """Print both tables: of the experiments that are named, else of these."""
    names = sys.argv[1:] or ["tiny", "mnist"]
    set_up_cpu()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = [row for name in names for row in time_steps(name)]
    torch.set_num_threads(threads)
    print(lines(["experiment", f"{TRAININGS} trainings", "ms a step of each", "ratio"], rows))
    print(flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="vae-bench-") as folder,
        join_cluster(Workers(1, 1)) as joining,
    ):
        resources = joining.result()
        rows = [row for name in names for row in time_searches(name, resources, Path(folder))]
    print(lines(["search", "4 trials a device", "trials/min", "ratio"], rows))


if __name__ == "__main__":
    main()
