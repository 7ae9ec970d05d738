"""Nights that go on from the best, on real Ray workers: images come, a machine is preempted."""

import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from flows.pipeline import find_unchanged
from tests.support.command import Started, descendants, vae
from tests.support.distributed import spawned
from tests.support.splits import load
from vae.data.datasets import DatasetRef
from vae.experiments.loading import load_experiment
from vae.experiments.settings import Value
from vae.registry.read import list_versions
from vae.runs.run import Run, open_run
from vae.store.open import open_store
from vae.training import checkpoints
from vae.training.checkpoints import list_checkpoints
from vae.training.fit import Fit
from vae.training.start import load_start

SETTINGS: dict[str, Value] = {
    "data.name": "pets.npy",
    "data.validation": 100,
    "data.limit": 0,
    "search.trials": 0,
    "train.epochs": 30,
    "train.from": "best",
}
# An epoch of seconds: the second night is preempted in the midst of one.
SLOW: dict[str, Value] = {"train.epochs": 2, "train.batch_size": 1, "objective.samples": 2000}
GRACE_S = 5.0  # between a preemption's SIGTERM and its SIGKILL


@pytest.mark.slow
@pytest.mark.usefixtures("quiet_home")
def test_nights_go_on_from_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second begins with the first's weights, killed or not; the third finds nothing new."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    store = open_store(str(tmp_path / "store"))
    begin = ("--experiment", "tiny", "--store", store.uri, "--workers", "1", "--run-id")

    np.save("pets.npy", draw_pets(800))
    first = vae("run", *begin, "first", *give(SETTINGS), cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "tiny-pets has no best version" in first.stdout

    np.save("pets.npy", draw_pets(1000))
    second = Started("run", *begin, "second", *give(SETTINGS | SLOW), cwd=tmp_path)
    preempt(second, list_of_checkpoints(store.uri))
    assert list_checkpoints(store, "runs/second/checkpoints")[0].step  # written in the grace
    Path("pets.npy").unlink()  # as on another machine: the store has what a run needs
    again = vae("run", "--run-id", "second", "--store", store.uri, "--workers", "1", cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert re.search(r"resumed after .*step", again.stdout)

    one, two = (open_run(store, name) for name in ("first", "second"))
    assert str(two.start) == f"tiny-pets@{one.version}"
    assert read_history(two)[0]["val/loss"] < read_history(one)[0]["val/loss"]
    content = checkpoints.read_latest(store, f"{two.prefix}/checkpoints")
    assert content
    straight = spawned(1, train_straight_on, store.uri)[0]
    torch.testing.assert_close(content["model"], straight, rtol=0, atol=0)

    newest = list_versions(store, "tiny-pets")[-1]
    assert newest.manifest and newest.manifest.notes == (f"from {two.start}",)
    assert newest.version == two.version
    np.save("pets.npy", draw_pets(1000))
    assert find_unchanged(load_experiment("tiny", SETTINGS | SLOW), store) == two.version


def give(settings: dict[str, Value]) -> list[str]:
    """The settings on the command line."""
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def draw_pets(n: int) -> NDArray[np.uint8]:
    """The first n of always the same images: one of six patterns, a tenth of its pixels wrong."""
    random = np.random.default_rng(0)
    patterns = random.integers(0, 2, (6, 8, 8))
    kinds, wrong = random.integers(0, 6, 1000), random.random((1000, 8, 8)) < 0.1
    images: NDArray[np.uint8] = (255 * (patterns[kinds] ^ wrong)).astype(np.uint8)
    return images[:n]


def list_of_checkpoints(uri: str) -> Any:
    """What tells that an epoch of the second night is in the store."""
    return lambda: list_checkpoints(open_store(uri), "runs/second/checkpoints")


def preempt(training: Started, begun: Any) -> None:
    """Once it has begun: SIGTERM to the command, and after the grace SIGKILL to all there is."""
    training.until(begun)
    processes = descendants(training.process.pid)
    training.process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        training.process.wait(GRACE_S)
    for pid in (training.process.pid, *processes):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    training.process.wait()


def read_history(run: Run) -> list[dict[str, float]]:
    """What the run's training recorded of every epoch."""
    trained = run.read_result("train")
    assert trained
    rows: list[dict[str, float]] = trained["history"]
    return rows


def train_straight_on(rank: int, world: int, uri: str) -> dict[str, Tensor]:
    """The last weights of the second night, without Ray or interruption."""
    store = open_store(uri)
    run = open_run(store, "second")
    prepared = run.read_result("data")
    assert prepared and run.start
    ref = DatasetRef.from_json(prepared["dataset"])
    train, val = (torch.from_numpy(load(ref, store, split).images) for split in ("train", "val"))
    fit = Fit(run.experiment, train, val, torch.device("cpu"))
    fit.begin_from(load_start(store, run.start))
    for _ in range(run.experiment.train.epochs):
        fit.run_epoch(fit.state.model, lambda step: None)
    return fit.state.model.state_dict()
