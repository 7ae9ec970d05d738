"""Training goes on from what the winner of the search has trained, without Ray at work."""

import pytest
import torch

from tests.support.trial_jobs import (
    CANDIDATE,
    EPOCHS,
    begin_run,
    begin_trial,
    describe_search,
    make_job,
)
from tuning.trial import TrialJob
from tuning.trial_checkpoints import locate
from tuning.winner import find_best_of, take_over
from vae.cluster.session import Resources, Workers
from vae.data.datasets import DatasetRef
from vae.experiments.loading import apply_overrides, parse_experiment
from vae.experiments.settings import Value
from vae.publishing.epochs import read_pictures
from vae.runs.run import Run
from vae.store.promises import Store
from vae.training import checkpoints
from vae.training.fit import Fit

NOTHING = Resources(0, 0, Workers())  # of which nothing is asked where all is whole
NO_DATA = DatasetRef(
    key="datasets/none", name="none", digest="", shape=(1, 4, 4), counts={}, classes=0, files={}
)


@pytest.fixture
def run(local: Store) -> Run:
    """A run whose search has ended."""
    run = begin_run(local)
    list(begin_trial(make_job(run)).run())
    return run


def fit_winner(run: Run, job: TrialJob) -> Fit:
    """The winner's training in one process, before its first epoch."""
    experiment = parse_experiment(apply_overrides(run.experiment.to_dict(), CANDIDATE))
    return Fit(experiment, job.train, job.val, torch.device("cpu"))


def train_to_the_end(fit: Fit) -> None:
    while fit.state.epoch < fit.experiment.train.epochs:
        fit.run_epoch(fit.state.model, lambda step: None)


def test_it_is_the_training_from_scratch(run: Run) -> None:
    """The same bits of weights, averaged weights and validation loss, for fewer epochs."""
    job, prefix = make_job(run), f"{run.prefix}/checkpoints"
    assert take_over(run, CANDIDATE, EPOCHS, NO_DATA, NOTHING) == []
    scratch, taken = fit_winner(run, job), fit_winner(run, job)
    content = checkpoints.read_latest(run.store, prefix)
    assert content
    history = checkpoints.restore(taken.state, content)
    assert [row["epoch"] for row in history] == list(range(1, EPOCHS + 1))
    for fit in (scratch, taken):
        train_to_the_end(fit)
    assert taken.state.epoch == scratch.state.epoch == 6
    for name in ("model", "averaged"):
        ours, theirs = (getattr(fit.state, name).state_dict() for fit in (taken, scratch))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert taken.validate() == scratch.validate()
    pictures = read_pictures(run.store, f"{run.prefix}/pictures")
    assert [list(epochs) for epochs in pictures.values()] == [[1, 2, 3, 4]] * 2


def test_what_training_has_is_gone_on_from(run: Run) -> None:
    """Taken once; a later epoch stays, a damaged one is taken again."""
    prefix = f"{run.prefix}/checkpoints"
    take_over(run, CANDIDATE, EPOCHS, NO_DATA, NOTHING)
    [newest, *_] = checkpoints.list_checkpoints(run.store, prefix)
    run.store.put(newest.key, b"torn")
    take_over(run, CANDIDATE, EPOCHS, NO_DATA, NOTHING)
    assert checkpoints.read_epoch(run.store, prefix, EPOCHS)
    run.store.delete(f"{run.prefix}/search")
    assert take_over(run, CANDIDATE, EPOCHS, NO_DATA, NOTHING) == []


def test_the_best_epoch_comes_along(run: Run) -> None:
    """Where it is not the last: training may never find a better one, and publishes it."""
    folder, prefix = locate(f"{run.prefix}/search", CANDIDATE), f"{run.prefix}/checkpoints"
    run.store.delete(folder)
    trial = begin_trial(make_job(run))
    for epoch, _ in enumerate(trial.run(), 1):
        trial.history[-1]["val/loss"] = float(abs(epoch - 2))  # of the rows, which are kept next
    assert find_best_of(run.store, folder, EPOCHS) == 2
    take_over(run, CANDIDATE, EPOCHS, NO_DATA, NOTHING)
    assert [one.epoch for one in checkpoints.list_checkpoints(run.store, prefix)] == [4, 2]
    [best] = [one for one in checkpoints.list_checkpoints(run.store, folder) if one.epoch == 2]
    run.store.delete(best.key)
    assert find_best_of(run.store, folder, EPOCHS) is None
    assert not run.store.list(folder)


@pytest.mark.parametrize(
    ("settings", "shared"),
    [
        ({}, EPOCHS),
        ({"search.trials": 0}, 0),
        ({"train.schedule": "cosine"}, 0),
        ({"train.schedule": "cosine", "train.epochs": EPOCHS}, EPOCHS),
        ({"train.epochs": EPOCHS}, EPOCHS),
        ({"train.epochs": EPOCHS - 1}, 0),
    ],
)
def test_which_epochs_both_have(settings: dict[str, Value], shared: int) -> None:
    """All of the search's or none: never where what follows changes them."""
    plain = apply_overrides(describe_search().to_dict(), settings)
    assert parse_experiment(plain).shared_epochs == shared
