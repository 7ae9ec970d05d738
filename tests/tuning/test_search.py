"""What a search keeps of its trials, without Ray at work."""

import traceback
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ray.tune.experiment import Trial as TuneTrial

from tests.support.listeners import Silent
from tuning.recorder import Recorder, read_trials
from vae.cluster.interruptible import run_interruptibly
from vae.errors import RefusedError
from vae.experiments.loading import load_experiment
from vae.runs.run import Run
from vae.runs.trials import Trial
from vae.store.local import LocalStore
from vae.store.open import open_store


def begin_run(folder: Path) -> Run:
    return Run(
        run_id="r",
        experiment=load_experiment("tiny"),
        created=datetime.now(UTC),
        store=open_store(str(folder)),
    )


def test_a_search_goes_on_where_numbers_are_missing(tmp_path: Path) -> None:
    """Of trials side by side a kill may leave the later one: no new one takes its place."""
    run = begin_run(tmp_path)
    begun = [TuneTrial("trial", config={"train.learning_rate": rate}, stub=True) for rate in (1, 2)]
    first = Recorder(run, "search", [], [], Silent())
    assert [first.assign_number(trial) for trial in begun] == [1, 2]
    first.on_trial_complete(1, begun, begun[1])
    done = read_trials(run, "search")
    assert numbers(done) == [2]

    resumed = Recorder(run, "search", done, [], Silent())
    for trial in (TuneTrial("trial", config={}, stub=True) for _ in range(2)):
        resumed.on_trial_complete(1, [], trial)
    assert numbers(read_trials(run, "search")) == [1, 2, 3]


class Away(LocalStore):
    """A folder that can't be written for a while, or until somebody mends it."""

    error: Exception | None = None

    def create(self, key: str, data: bytes) -> None:
        if self.error:
            raise self.error
        super().create(key, data)


def test_a_trial_that_the_store_does_not_take_is_not_lost(tmp_path: Path) -> None:
    """Tune would only print it: what passes is written at the end, the rest ends the search."""
    store = Away(tmp_path)
    run = replace(begin_run(tmp_path), store=store)
    recorder = Recorder(run, "search", [], [], Silent())
    store.error = ConnectionError("away")
    recorder.on_trial_complete(1, [], TuneTrial("trial", config={}, stub=True))
    assert not recorder.refused.done()
    store.error = None
    recorder.write_rest()
    assert numbers(read_trials(run, "search")) == [1]

    store.error = RefusedError("keys revoked")
    recorder.on_trial_complete(1, [], TuneTrial("trial", config={}, stub=True))
    with pytest.raises(RefusedError, match="keys revoked"):
        recorder.refused.result(timeout=0)


def test_what_the_store_raises_before_a_trial_ends_the_search_under_its_own_name(
    tmp_path: Path,
) -> None:
    """Tune hands on the traceback of it alone, so who waits is told beside Tune."""
    store = Away(tmp_path)
    run = replace(begin_run(tmp_path), store=store)
    recorder = Recorder(run, "search", [], [], Silent())
    store.error = RefusedError("keys revoked")

    def search_with_tune() -> None:
        try:
            recorder.on_trial_start(1, [], TuneTrial("trial", config={}, stub=True))
        except RefusedError:
            raise RuntimeError(traceback.format_exc()) from None

    with pytest.raises(RefusedError, match="keys revoked"):
        run_interruptibly(search_with_tune, recorder.refused)


def numbers(trials: list[Trial]) -> list[int]:
    return [trial.number for trial in trials]


def test_every_metric_of_the_best_epoch_is_kept(tmp_path: Path) -> None:
    """Whatever an epoch measures is told of and recorded: there is no list of names."""
    run = begin_run(tmp_path)
    listener = Silent()
    recorder, trial = (
        Recorder(run, "search", [], [], listener),
        TuneTrial("trial", config={}, stub=True),
    )
    clock = {"began": 1.0, "ended": 2.0}
    for epoch, loss in enumerate([90.0, 80.0, 85.0], start=1):
        row = {"epoch": epoch, "val/loss": loss, "val/new": epoch / 8, **clock}
        result = {"row": row, "time_total_s": 1.0, "resumed": 0, "warnings": []}
        recorder.on_trial_result(1, [trial], trial, result)
    recorder.on_trial_complete(1, [trial], trial)
    [ended] = read_trials(run, "search")
    assert (ended.loss, ended.epochs, ended.spans) == (80.0, 3, [(1.0, 2.0)] * 3)
    assert ended.metrics == {"epoch": 2, "val/loss": 80.0, "val/new": 0.25, **clock}
    assert [row["val/new"] for row in listener.rows] == [0.125, 0.25, 0.375]
    assert listener.ended == [ended]


def test_what_a_trial_had_before_a_kill_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its first epochs are told of at once, and are in its record; its warnings are logged here."""
    run, listener = begin_run(tmp_path), Silent()
    recorder = Recorder(run, "search", [], [], listener)
    trial = TuneTrial("trial", config={}, stub=True)
    rows = [{"val/loss": loss, "began": loss, "ended": loss + 1} for loss in (90.0, 80.0, 85.0)]
    for row in rows:
        told = [("vae.training.checkpoints", "one is corrupt")] if row is rows[0] else []
        result = {"row": row, "resumed": 2, "warnings": told}
        recorder.on_trial_result(1, [trial], trial, result)
    recorder.on_trial_complete(1, [trial], trial)
    assert (listener.resumed, listener.rows) == ([rows[:2]], rows[2:])
    [ended] = read_trials(run, "search")
    assert (ended.epochs, ended.losses, ended.loss) == (3, [90.0, 80.0, 85.0], 80.0)
    assert ended.spans == [(90.0, 91.0), (80.0, 81.0), (85.0, 86.0)]
    assert caplog.messages == ["one is corrupt"]
