"""What the stages hand on, and what they say of what they can't go on from."""

import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import torch

from flows.results import load_trained_model
from flows.session import Session
from tests.support.splits import load
from vae.data.datasets import prepare
from vae.errors import UserError
from vae.experiments.loading import load_experiment
from vae.experiments.settings import Value
from vae.runs.run import open_run
from vae.store.open import open_store
from vae.tracking.tracker import Tracker
from vae.training import checkpoints
from vae.training.fit import Fit


def test_the_averaged_weights_are_judged(tmp_path: Path) -> None:
    """What is evaluated and published is the average, not what training goes on from."""
    np.save(tmp_path / "images.npy", np.arange(40 * 16, dtype=np.uint8).reshape(40, 4, 4))
    settings: dict[str, Value] = {"data.name": str(tmp_path / "images.npy"), "data.validation": 10}
    experiment = load_experiment("tiny", settings | {"data.limit": 0, "train.ema_decay": 0.9})
    run = open_run(open_store(f"file://{tmp_path}/store"), "r", experiment)
    ref = prepare(experiment.data, run.store)
    images = torch.from_numpy(load(ref, run.store, "train").images)
    fit = Fit(experiment, images, images, torch.device("cpu"))
    row, _ = fit.run_epoch(fit.state.model, lambda step: None)
    checkpoints.save(run.store, f"{run.prefix}/checkpoints", fit.state, [row])
    run.record("data", {"dataset": ref.to_json()})
    run.record("search", {"overrides": {}, "trials": []})
    run.record("train", {"history": [row]})
    session = Session(run, Future(), Tracker("r", tmp_path), time.time(), 1)
    judged, training = load_trained_model(session).state_dict(), fit.state.model.state_dict()
    torch.testing.assert_close(judged, fit.state.averaged.state_dict(), rtol=0, atol=0)
    assert not any(torch.equal(judged[name], weight) for name, weight in training.items())


@pytest.mark.parametrize("rotten", [False, True])
def test_the_best_checkpoint_is_gone(rotten: bool, tmp_path: Path) -> None:
    """Missing or rotten, it is named in one line with what to do; another epoch doesn't serve."""
    run = open_run(open_store(f"file://{tmp_path}/store"), "r", load_experiment("tiny"))
    run.record("search", {"overrides": {}, "trials": []})
    run.record("train", {"history": [{"epoch": 1, "val/loss": 2.0}, {"epoch": 2, "val/loss": 3.0}]})
    run.store.put(f"{run.prefix}/checkpoints/epoch-{1 if rotten else 2:05d}-{'0' * 64}.pt", b"torn")
    session = Session(run, Future(), Tracker("r", tmp_path), time.time(), 1)
    with pytest.raises(UserError) as raised:
        load_trained_model(session)
    assert str(raised.value) == (
        "the checkpoint of the best epoch of run 'r', 1, is missing or corrupt: begin a new run"
    )
