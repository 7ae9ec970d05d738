"""What a trial has learnt is in the store: one that begins again goes on from there."""

import logging
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from tests.support.trial_jobs import (
    CANDIDATE,
    EPOCHS,
    begin_run,
    begin_trial,
    list_tensors,
    make_job,
)
from tuning.trial import TrialFit, TrialJob
from tuning.trial_checkpoints import drop_beaten, locate
from vae.errors import RefusedError
from vae.publishing.epochs import read_pictures
from vae.runs.trials import Trial
from vae.store.local import LocalStore
from vae.store.promises import Store
from vae.training.checkpoints import list_checkpoints


@pytest.fixture
def job(local: Store) -> TrialJob:
    """Trials whose store is empty."""
    return make_job(begin_run(local))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> TrialFit:
    """The trial that nothing befell."""
    trial = begin_trial(make_job(begin_run(LocalStore(tmp_path_factory.mktemp("store")))))
    assert [row["epoch"] for row in trial.run()] == list(range(1, EPOCHS + 1))
    return trial


def check_same(trial: TrialFit, other: TrialFit) -> None:
    """Both have trained the same bits, epoch by epoch."""
    losses = [[row["val/loss"] for row in one.history] for one in (trial, other)]
    assert losses[0] == losses[1]
    for ours, theirs in zip(list_tensors(trial), list_tensors(other), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("done", range(EPOCHS + 1))
def test_one_that_is_killed_goes_on(job: TrialJob, undisturbed: TrialFit, done: int) -> None:
    """After any epoch; those before are told as they were, times included."""
    killed = list(islice(begin_trial(job).run(), done))
    again = begin_trial(job)
    rows = list(again.run())
    assert again.resumed == done
    assert rows[:done] == killed
    check_same(again, undisturbed)


def test_damage_is_named_and_costs_an_epoch(
    job: TrialJob, undisturbed: TrialFit, caplog: pytest.LogCaptureFixture
) -> None:
    """The epoch before is gone on from; where nothing is whole, the trial begins anew."""
    list(islice(begin_trial(job).run(), 3))
    folder = locate(job.prefix, CANDIDATE)
    for left in (2, 0):
        for checkpoint in list_checkpoints(job.store, folder):
            if checkpoint.epoch > left:
                job.store.put(checkpoint.key, b"torn")
        caplog.clear()
        again = begin_trial(job)
        assert again.resumed == left
        assert f"{folder}/epoch-00003" in caplog.text
    list(again.run())
    check_same(again, undisturbed)


def test_other_settings_have_nothing_to_go_on_from(job: TrialJob) -> None:
    """A candidate finds what its own settings have trained, and no other's."""
    list(islice(begin_trial(job).run(), 2))
    assert begin_trial(job, CANDIDATE | {"train.learning_rate": 0.02}).resumed == 0
    assert begin_trial(job, dict(reversed(CANDIDATE.items()))).resumed == 2


def test_its_pictures_are_kept(job: TrialJob) -> None:
    """Of the epochs that training keeps pictures of, if it goes on from them."""
    list(begin_trial(job).run())
    pictures = read_pictures(job.store, locate(job.prefix, CANDIDATE))
    assert [list(epochs) for epochs in pictures.values()] == [[1, 2, 3, 4]] * 2


class Away(LocalStore):
    """A folder of which nothing can be read or written."""

    def __init__(self, root: Path, error: Exception) -> None:
        super().__init__(root)
        self.error = error

    def put(self, key: str, data: bytes) -> None:
        raise self.error

    def list(self, prefix: str = "") -> list[str]:
        raise self.error


def test_a_store_that_is_away_fails_no_trial(
    job: TrialJob, undisturbed: TrialFit, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It trains on, and says what is not kept; what the store refuses ends it."""
    away = Away(tmp_path, ConnectionError("no route"))
    with caplog.at_level(logging.WARNING):
        trial = begin_trial(replace(job, store=away))
        list(trial.run())
    check_same(trial, undisturbed)
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == "search   a trial begins anew: ConnectionError: no route"
    assert sum("is not kept" in line for line in told) == EPOCHS
    away.error = RefusedError("keys revoked")
    with pytest.raises(RefusedError, match="keys revoked"):
        begin_trial(replace(job, store=away))


@pytest.mark.parametrize(("keep", "left"), [(0, []), (1, [0.02]), (2, [0.01, 0.02])])
def test_what_the_beaten_learnt_goes(local: Store, keep: int, left: list[float]) -> None:
    """The best of different settings stay, as do those at work and what else is there."""
    losses: dict[int, tuple[float, float | None]] = {
        1: (0.01, 5.0),
        2: (0.02, 4.0),
        3: (0.02, 4.5),
        4: (0.03, 6.0),
        5: (0.04, None),
    }
    ended = [
        Trial(
            number=number,
            overrides={"train.learning_rate": rate},
            loss=loss,
            epochs=1,
            stopped=False,
            spans=[],
        )
        for number, (rate, loss) in losses.items()
    ]
    rates = sorted({rate for rate, _ in losses.values()})
    keys = {rate: f"{locate('s', {'train.learning_rate': rate})}/x.pt" for rate in (*rates, 0.05)}
    for key in (*keys.values(), "s/trial-0001.json"):
        local.put(key, b"")
    drop_beaten(local, "s", ended, keep)
    expected = [keys[rate] for rate in (*left, 0.05)]
    assert local.list("s") == sorted([*expected, "s/trial-0001.json"])
