"""What becomes of trials that end badly, on real Ray processes."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.command import descendants, named
from tuning.results import best_trial
from tuning.search import search
from vae.cluster import Resources, Workers, joined
from vae.datasets import prepare
from vae.errors import UserError
from vae.experiment import Value, load_experiment
from vae.runs import Run
from vae.store import open_store

pytestmark = pytest.mark.slow
EPOCHS = 40  # a driver that kills at the first is well before the last


@pytest.fixture(scope="module")
def resources() -> Iterator[Resources]:
    """A local Ray session."""
    with joined(Workers(1, 1)) as found:
        yield found.result()


def run_of(folder: Path, rates: list[float]) -> Run:
    """A run whose search has one trial, at one of the rates."""
    np.save(folder / "images.npy", np.arange(60 * 16, dtype=np.uint8).reshape(60, 4, 4))
    settings: dict[str, Value] = {
        "data.name": str(folder / "images.npy"),
        "data.validation": 10,
        "data.limit": 0,
        "search.trials": 1,
        "search.epochs": EPOCHS,
        "search.grace_epochs": EPOCHS,
        "search.space": {"train.learning_rate": {"choice": rates}},
    }
    experiment = load_experiment("tiny", settings)
    store = open_store(str(folder / "store"))
    return Run(run_id="r", experiment=experiment, created=datetime.now(UTC), store=store)


def test_what_a_trial_raised_is_told(resources: Resources, tmp_path: Path) -> None:
    """It is the trial's result, for good: with these settings it would be raised again."""
    run = run_of(tmp_path, [1e30])
    trials = search(run, prepare(run.experiment.data, run.store), resources, lambda *_: None)
    with pytest.raises(UserError, match=r"none of the 1 trials .* finished: training diverged at"):
        best_trial(trials)


def test_a_trial_whose_process_was_lost_is_run_again(resources: Resources, tmp_path: Path) -> None:
    """Its settings were not to blame: nothing is recorded, and the next search makes up for it."""
    run = run_of(tmp_path, [1e-3])
    dataset = prepare(run.experiment.data, run.store)
    killed: list[int] = []

    def kill(*_: Any) -> None:
        processes = descendants(os.getpid()) if not killed else []
        for pid in (pid for pid in processes if named(pid).startswith("ray::ImplicitFunc")):
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    with pytest.raises(RuntimeError, match="1 of 1 trials were lost with their processes"):
        search(run, dataset, resources, kill)
    assert len(killed) == 1
    assert not run.store.list(f"{run.prefix}/search")
    [trial] = search(run, dataset, resources, lambda *_: None)
    assert (trial.number, trial.epochs, trial.error) == (1, EPOCHS, None)
