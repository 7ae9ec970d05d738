"""Trials that share a process: each is what it would be alone, also begun again from the store."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.support.trial_jobs import EPOCHS, begin_run, begin_trial, list_tensors, make_job
from tuning.design import Candidate
from tuning.device_trials import DeviceTrials
from tuning.told import Told
from tuning.trial import TrialJob
from tuning.trial_checkpoints import locate
from vae.store.promises import Store
from vae.training.checkpoints import list_checkpoints
from vae.training.step import DivergedError

RATES = {"a": 0.01, "b": 0.02, "c": 0.03, "diverging": 1e30}
CANDIDATES: dict[str, Candidate] = {
    name: {"model.latent_dim": 3, "train.learning_rate": rate} for name, rate in RATES.items()
}


@pytest.fixture(params=["streams", "stacked"])
def job(local: Store, request: pytest.FixtureRequest) -> TrialJob:
    """Trials that share a process, whose store is empty."""
    run = begin_run(local)
    shared = replace(run.experiment.search, trials_per_device=3, sharing=request.param)
    return make_job(replace(run, experiment=replace(run.experiment, search=shared)))


def advance(trials: DeviceTrials, names: str) -> dict[str, Any]:
    """What the trials with these names tell."""
    return trials.advance({name: CANDIDATES[name] for name in names.split()})


def list_losses(told: list[Told]) -> list[float]:
    return [one.row["val/loss"] for one in told]


def test_they_tell_what_they_would_alone(job: TrialJob) -> None:
    """One diverges, one is stopped, one begins later, and all begin again in another process."""
    alone = {}
    for name in "abc":
        trial = begin_trial(replace(job, prefix="alone"), CANDIDATES[name])
        alone[name] = [row["val/loss"] for row in trial.run()], trial
    trials = DeviceTrials(job, torch.device("cpu"))
    first = advance(trials, "a diverging b")
    assert isinstance(first["diverging"], DivergedError)
    assert set(trials.trials) == {"a", "b"}
    second = advance(trials, "a b")
    trials.leave(["b"])
    advance(trials, "c a")

    again = DeviceTrials(job, torch.device("cpu"))
    recalled = advance(again, "a b c")
    assert [recalled[name][0].resumed for name in "abc"] == [3, 2, 1]
    assert list_losses(recalled["a"])[:2] == list_losses([*first["a"], *second["a"]])
    told = {name: list_losses(recalled[name]) for name in "abc"}
    while left := [name for name in "abc" if len(told[name]) < EPOCHS]:
        for name, outcome in advance(again, " ".join(left)).items():
            told[name] += list_losses(outcome)
    assert advance(again, "a b c") == {"a": [], "b": [], "c": []}
    for name in "abc":
        losses, trial = alone[name]
        rounding = 0.0 if job.search.sharing == "streams" else 1e-5
        assert told[name] == pytest.approx(losses, rel=rounding)
        found = list_tensors(again.trials[name])
        torch.testing.assert_close(found, list_tensors(trial), rtol=rounding, atol=rounding)
        assert list_checkpoints(job.store, locate(job.prefix, CANDIDATES[name]))[0].epoch == EPOCHS
