"""What a dashboard is made of, and what is said where it can't be made."""

import sys
from pathlib import Path

import pytest

from flows.commands.tracking import dashboard
from flows.dashboard import list_searched, make_report, make_view
from tests.support.refusals import catch_refusal
from vae.experiments.loading import load_experiment
from vae.runs.run import open_run
from vae.store.open import open_store
from vae.tracking.panels import Searched


def test_settings_come_in_the_order_of_their_importance() -> None:
    """What the search did not weigh comes after, as the experiment has it; each is there once."""
    space = load_experiment("tiny").search.space
    rate = Searched("train.learning_rate", log=True)
    assert list_searched(space, [rate.name, *space]) == [rate, Searched("model.latent_dim", False)]


def test_a_search_is_reported_once_it_has_ended(tmp_path: Path) -> None:
    """Before that the command that goes on with it is told; without a search there is nothing."""
    store = open_store(str(tmp_path))
    open_run(store, "night-1", load_experiment("tiny"))
    assert "vae search --run-id night-1" in catch_refusal(make_report, store, "night-1")
    run = open_run(store, "night-2", load_experiment("tiny", {"search.trials": 0}))
    run.record("search", {"trials": []})
    assert "search.trials is 0" in catch_refusal(make_report, store, "night-2")
    assert "night-1" in catch_refusal(make_report, store, "nigth-1")


def test_what_to_set_or_install_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown experiment, both kinds at once, offline, and without the extra."""
    assert "did you mean 'tiny'" in catch_refusal(make_view, "tiney")
    assert "--experiment" in catch_refusal(dashboard, "night-1", "tiny")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "WANDB_MODE is 'offline'" in catch_refusal(dashboard)
    for name in ("flows.dashboard", "vae.tracking.dashboard", "vae.tracking.panels"):
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "wandb_workspaces"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert "pip install 'vae-pipeline[dashboard]'" in catch_refusal(dashboard)
