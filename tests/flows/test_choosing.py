"""What a command begins or goes on with."""

import os
from pathlib import Path

import pytest

from flows.embedded import choose_experiment, settle_home
from tests.support.refusals import catch_refusal
from vae.experiments.loading import load_experiment
from vae.runs.run import open_run
from vae.store.open import open_store
from vae.store.promises import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a run of its own settings."""
    store = open_store(str(tmp_path / "store"))
    open_run(store, "a", load_experiment("tiny", {"seed": 7}))
    return store


def test_settings_for_a_run_alone_are_changes_to_its_own(store: Store) -> None:
    """More trials need nothing else; what a run may not change is refused by its own value."""
    more = choose_experiment(store, None, {"search.trials": 5}, "a")
    assert more == load_experiment("tiny", {"seed": 7, "search.trials": 5})
    assert open_run(store, "a", more).experiment == more
    other = choose_experiment(store, None, {"train.epochs": 9}, "a")
    assert "train.epochs = 3, given 9" in catch_refusal(open_run, store, "a", other)


def test_a_run_is_continued_or_begun(store: Store) -> None:
    """Without settings as it was; a new one with those of the experiment, or the default's."""
    assert choose_experiment(store, None, {}, "a") is None
    begun = choose_experiment(store, None, {"seed": 1}, "new")
    assert begun == choose_experiment(store, None, {"seed": 1}, None)
    assert begun == load_experiment("mnist", {"seed": 1})
    assert choose_experiment(store, "tiny", {}, "a") == load_experiment("tiny")


def test_without_a_home_what_others_keep_there_is_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect's database and Ray's token; with one, nothing changes."""
    for name in ("PREFECT_HOME", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    settle_home(tmp_path / "scratch")
    assert not {"PREFECT_HOME", "RAY_AUTH_TOKEN"} & os.environ.keys()
    monkeypatch.setenv("HOME", "/proc/none")
    settle_home(tmp_path / "scratch")
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "scratch/prefect")
    assert len(os.environ["RAY_AUTH_TOKEN"]) >= 32
