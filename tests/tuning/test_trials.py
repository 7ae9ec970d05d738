"""What becomes of trials that end badly, on real Ray processes."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.command import descendants, named
from tests.support.listeners import Silent
from tuning.confirm import confirm
from tuning.design import Candidate, design_candidates
from tuning.recorder import read_proposals, read_trials
from tuning.search import search
from tuning.trial import TrialJob, train_part
from tuning.trial_checkpoints import locate
from tuning.winner import take_over
from vae.cluster.session import Resources, Workers, join_cluster
from vae.data.datasets import prepare
from vae.errors import UserError
from vae.experiments.loading import load_experiment
from vae.experiments.settings import Value
from vae.runs.run import Run
from vae.runs.trials import Trial, choose_best, is_settled
from vae.store.open import open_store
from vae.training import checkpoints
from vae.training.ranks import Ranks

pytestmark = pytest.mark.slow
EPOCHS = 40  # a driver that kills at the first is well before the last


@pytest.fixture(scope="module")
def resources() -> Iterator[Resources]:
    """A local Ray session."""
    with join_cluster(Workers(1, 1)) as found:
        yield found.result()


def run_of(folder: Path, rates: list[float]) -> Run:
    """A run whose search has one trial, at one of the rates."""
    np.save(folder / "images.npy", np.arange(60 * 16, dtype=np.uint8).reshape(60, 4, 4))
    settings: dict[str, Value] = {
        "data.name": str(folder / "images.npy"),
        "data.validation": 10,
        "data.limit": 0,
        "search.trials": 1,
        "train.epochs": EPOCHS,
        "search.epochs": EPOCHS,
        "search.grace_epochs": EPOCHS,
        "search.space": {"train.learning_rate": {"choice": rates}},
    }
    experiment = load_experiment("tiny", settings)
    store = open_store(str(folder / "store"))
    return Run(run_id="r", experiment=experiment, created=datetime.now(UTC), store=store)


class Killer(Silent):
    """Kills a trial's process of this name at the first epoch that it is told of."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.killed = name, list[int]()

    def on_epoch(self, number: int, overrides: dict[str, Any], row: dict[str, float]) -> None:
        """Kill, once."""
        super().on_epoch(number, overrides, row)
        if not self.killed:
            processes = (pid for pid in descendants(os.getpid()) if self.name in named(pid))
            self.killed = [next(processes)]
            os.kill(self.killed[0], signal.SIGKILL)


def test_what_a_trial_raised_is_told(resources: Resources, tmp_path: Path) -> None:
    """It is the trial's result, for good: with these settings it would be raised again."""
    run = run_of(tmp_path, [1e30])
    trials = search(run, prepare(run.experiment.data, run.store), resources, Silent())
    with pytest.raises(UserError, match=r"none of the 1 trials .* finished: training diverged at"):
        choose_best(trials)


def test_one_that_diverges_is_a_row_with_its_reason(resources: Resources, tmp_path: Path) -> None:
    """The search goes on, and another wins: here both points of a grid, stacked, and no pruner."""
    run = run_of(tmp_path, [1e30, 1e-3])
    both = replace(run.experiment.search, trials=2, sampler="grid", pruner="none")
    both = replace(both, trials_per_device=2, sharing="stacked")
    run = replace(run, experiment=replace(run.experiment, search=both))
    trials = search(run, prepare(run.experiment.data, run.store), resources, Silent())
    tried = sorted(str(trial.overrides) for trial in trials)  # side by side, in either order
    assert tried == sorted(map(str, design_candidates(both, run.experiment.seed)))
    [lost] = [trial for trial in trials if trial.error]
    assert "diverged" in str(lost.error)
    assert choose_best(trials).overrides == {"train.learning_rate": 1e-3}


def test_the_best_are_trained_again_with_other_seeds(resources: Resources, tmp_path: Path) -> None:
    """For all epochs; asked again, the store knows. The same settings count once.

    A search that is given more trials may have another best: that alone is trained.
    """
    run = run_of(tmp_path, [1e-3, 2e-3, 1e-3])
    config = replace(run.experiment.search, epochs=2, grace_epochs=1, confirm=2)
    run = replace(run, experiment=replace(run.experiment, search=config))
    dataset = prepare(run.experiment.data, run.store)
    losses = {1: 5.0, 2: 4.0, 3: 4.5, 4: None}
    rates = {1: 1e-3, 2: 2e-3, 3: 2e-3, 4: 1e-3}
    trials = [
        Trial(
            number=number,
            overrides={"train.learning_rate": rates[number]},
            loss=losses[number],
            epochs=1,
            stopped=False,
            spans=[],
        )
        for number in losses
    ]
    confirmed, repeats = confirm(run, dataset, resources, trials, Silent())
    assert [(one.number, one.own) for one in confirmed] == [(2, False), (1, False), (0, True)]
    assert confirmed[-1].overrides == {"train.learning_rate": run.experiment.train.learning_rate}
    assert [trial.epochs for trial in repeats] == [2] * 6
    assert len({loss for one in confirmed for loss in one.losses}) == 6
    silent = Silent()
    assert confirm(run, dataset, resources, trials, silent) == (confirmed, repeats)
    assert not silent.rows

    better = replace(trials[0], number=5, overrides={"train.learning_rate": 4e-3}, loss=3.0)
    again, _ = confirm(run, dataset, resources, [*trials, better], silent)
    assert [one.number for one in again] == [5, 2, 0]
    assert again[1:] == [confirmed[0], confirmed[2]]
    assert len(silent.rows) == 4  # of two seeds, for two epochs


@pytest.mark.parametrize(
    ("process", "shared"),
    [
        ("ray::ImplicitFunc", {}),
        ("ray::DeviceProcess", {"sharing": "streams", "trials_per_device": 2}),
    ],
)
def test_a_trial_whose_process_was_lost_goes_on(
    process: str, shared: dict[str, Any], resources: Resources, tmp_path: Path
) -> None:
    """Its settings were not to blame: it has them again, and the epochs that it had trained.

    What it learnt is what its settings train undisturbed, here as the winner whose checkpoints are
    gone.
    """
    run = run_of(tmp_path, [1e-3, 2e-3, 3e-3])
    config = replace(run.experiment.search, **shared)
    run = replace(run, experiment=replace(run.experiment, search=config))
    dataset = prepare(run.experiment.data, run.store)
    killer = Killer(process)
    with pytest.raises(RuntimeError, match="1 of 1 trials were lost with their processes"):
        search(run, dataset, resources, killer)
    assert len(killer.killed) == 1
    [proposal] = read_proposals(run, f"{run.prefix}/search")
    assert not read_trials(run, f"{run.prefix}/search")
    silent = Silent()
    [trial] = search(run, dataset, resources, silent)
    assert (trial.number, trial.epochs, trial.error) == (1, EPOCHS, None)
    assert trial.overrides == proposal.overrides
    [kept] = silent.resumed
    assert kept[: len(killer.rows)] == killer.rows
    assert len(kept) + len(silent.rows) == EPOCHS

    training = f"{run.prefix}/checkpoints"
    weights = []
    for _ in range(2):
        spans = take_over(run, trial.overrides, EPOCHS, dataset, resources)
        content = checkpoints.read_epoch(run.store, training, EPOCHS)
        assert content and [row["val/loss"] for row in content["history"]] == trial.losses
        weights.append([content["model"], content["averaged"]])
        run.store.delete(training)
        run.store.delete(locate(f"{run.prefix}/search", trial.overrides))
    assert len(spans) == 1
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_several_workers_train_what_one_does(resources: Resources, tmp_path: Path) -> None:
    """To rounding, also where one of them is lost and training has to go on from their epochs."""
    run = run_of(tmp_path, [1e-3])
    rate: Candidate = {"train.learning_rate": 1e-3}
    config = replace(run.experiment.search, workers_per_trial=2)
    run = replace(run, experiment=replace(run.experiment, search=config))
    dataset = prepare(run.experiment.data, run.store)
    killer = Killer("ray::Member")
    with pytest.raises(RuntimeError, match="1 of 1 trials were lost with their processes"):
        search(run, dataset, resources, killer)
    assert not read_trials(run, f"{run.prefix}/search")
    take_over(run, rate, EPOCHS, dataset, resources)
    content = checkpoints.read_epoch(run.store, f"{run.prefix}/checkpoints", EPOCHS)
    assert content and content["history"][: len(killer.rows)] == killer.rows
    job = TrialJob.of(run, dataset, "alone", use_gpu=False)
    alone = [told.row["val/loss"] for told in train_part(rate, job, Ranks(torch.device("cpu")))]
    assert [row["val/loss"] for row in content["history"]] == pytest.approx(alone, rel=1e-5)


def test_a_search_ends_when_its_best_no_longer_moves(resources: Resources, tmp_path: Path) -> None:
    """The same losses again and again are no better; searched again, none is begun."""
    run = run_of(tmp_path, [1e-3])
    config = replace(run.experiment.search, trials=50, epochs=1, grace_epochs=1, patience=2)
    run = replace(run, experiment=replace(run.experiment, search=config))
    dataset = prepare(run.experiment.data, run.store)
    trials = search(run, dataset, resources, Silent())
    assert 3 <= len(trials) < 50
    assert is_settled(trials, 2)
    assert search(run, dataset, resources, Silent()) == trials


def test_a_budget_ends_a_search_in_order(resources: Resources, tmp_path: Path) -> None:
    """No trial begins after it, the one at work ends; searched again, none is begun."""
    run = run_of(tmp_path, [1e-3, 2e-3, 3e-3])
    more = replace(run.experiment.search, trials=50)
    run = replace(run, experiment=replace(run.experiment, search=more))
    dataset = prepare(run.experiment.data, run.store)
    trials = search(run, dataset, resources, Silent(), 1e-6)
    assert 1 <= len(trials) < 50
    assert {(trial.epochs, trial.error) for trial in trials} == {(EPOCHS, None)}
    assert search(run, dataset, resources, Silent(), 1e-6) == trials
