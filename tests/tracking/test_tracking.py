"""Tracking, read back from real offline W&B runs."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from tests.support.wandb_runs import (
    Record,
    history,
    inspect,
    of_type,
    png,
    warnings_in,
)
from vae.errors import UserError
from vae.tracking.tracker import Tracker
from vae.tracking.values import Histogram, Label, Picture, Reference, Value

pytestmark = pytest.mark.slow
SHA256 = "5a" * 32
PLACES = {"s3": "s3://bucket/models/mnist/1", "file": "file:///store/models/mnist/1"}


class Tracked(NamedTuple):
    train: list[Record]
    trial: list[Record]
    train_path: Path


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    """Two runs that were open at once and logged in turn, read back."""
    with Tracker("run-7", tmp_path_factory.mktemp("tracked"), project="digits") as tracker:
        notes = "vae run --run-id run-7"
        label = Label("7-train", "train", "run-7 train", ("digits", "main"), notes)
        train = tracker.start_run(label, {"optim": {"lr": 1e-3}, "hidden": [400]})
        trial = tracker.start_run(Label("trial-0", "search", "trial-0"), {"model.latent_dim": 8})
        for epoch, nelbo in enumerate([120.0, 99.5, 101.25]):
            train.log({"epoch": epoch, "val/nelbo": nelbo}, step=10 * epoch)
            trial.log({"epoch": epoch, "val/nelbo": nelbo + 50}, step=epoch)
        train.log({"step": 40, "train/nelbo": 110.5}, step=40, step_metric="step", commit=False)
        shown: dict[str, Value] = {"epoch": 3, "pictures/samples": Picture(png(10), "epoch 3")}
        train.log(shown | {"val/latent_rates": Histogram([0.0, 0.1, 3.0])}, step=40)
        train.show({"pictures/latent": Picture(png(200), "latent")})
        train.set_summary({"test/nelbo": 98.0})
        for scheme, uri in PLACES.items():
            files = {"model.safetensors": SHA256}
            train.use_reference(Reference(f"data-{scheme}", "dataset", uri, {"a.npy": SHA256}, {}))
            facts = {"val/nelbo": 99.5}
            train.log_reference(Reference(f"mnist-{scheme}", "model", uri, files, facts, ["best"]))
    train_path, trial_path = tracker.paths
    return Tracked(inspect(train_path), inspect(trial_path), train_path)


def test_runs_carry_group_job_type_name_project_and_config(tracked: Tracked) -> None:
    """A reader of the dashboard finds each stage under its pipeline run, with its settings."""
    (train,), (trial,) = of_type(tracked.train, "run"), of_type(tracked.trial, "run")
    names = ("project", "run_group", "job_type", "display_name")
    assert [train[name] for name in names] == ["digits", "run-7", "train", "run-7 train"]
    assert [trial[name] for name in names] == ["digits", "run-7", "search", "trial-0"]
    assert (train["run_id"], trial["run_id"]) == ("7-train", "trial-0")
    assert (train["tags"], train["notes"]) == (["digits", "main"], "vae run --run-id run-7")
    config = train["config"]["update"]
    assert (config["optim"], config["hidden"]) == ({"lr": 1e-3}, [400])
    assert trial["config"]["update"]["model.latent_dim"] == 8


def test_runs_open_at_once_do_not_mix(tracked: Tracked) -> None:
    """Points logged in turn to two open runs reach the run they were logged to, in order."""
    assert history(tracked.train, "val/nelbo") == [120.0, 99.5, 101.25]
    assert history(tracked.trial, "val/nelbo") == [170.0, 149.5, 151.25]
    assert history(tracked.trial, "epoch") == [0, 1, 2]


def test_curves_are_drawn_over_their_step_metric(tracked: Tracked) -> None:
    """Epoch curves are drawn over epochs, step curves over steps."""
    over = {metric["name"]: metric["step_metric"] for metric in of_type(tracked.train, "metric")}
    assert over == {
        "val/nelbo": "epoch",
        "train/nelbo": "step",
        "pictures/samples": "epoch",
        "val/latent_rates": "epoch",
    }


def test_summary_keeps_the_lowest_bound_and_the_final_values(tracked: Tracked) -> None:
    """The summary compares runs by their best validation bound, not by the last one."""
    summary: Record = {}
    for record in of_type(tracked.train, "summary"):
        summary |= record.get("update", {})
    assert summary["val/nelbo"] == {"min": 99.5}
    assert summary["test/nelbo"] == 98.0


def test_pictures_and_histograms_read_back_each_under_its_own_key(tracked: Tracked) -> None:
    """Pictures keep their pixels and captions, and stand in one row with their epoch's numbers."""
    for key, caption, shade in (("samples", "epoch 3", 10), ("latent", "latent", 200)):
        assert history(tracked.train, f"pictures/{key}.caption") == [caption]
        (name,) = history(tracked.train, f"pictures/{key}.path")
        assert Image.open(tracked.train_path / "files" / name).getpixel((0, 0)) == shade
    (counts,) = history(tracked.train, "val/latent_rates.values")
    assert sum(counts) == 3


@pytest.mark.parametrize("scheme", PLACES)
def test_a_model_is_made_from_a_dataset(tracked: Tracked, scheme: str) -> None:
    """The dataset is an input of the run whose output the model is."""
    used = {a["name"]: bool(a.get("use_after_commit")) for a in of_type(tracked.train, "artifact")}
    assert (used[f"data-{scheme}"], used[f"mnist-{scheme}"]) == (True, False)


@pytest.mark.parametrize("scheme", PLACES)
def test_reference_artifact_points_to_the_store(tracked: Tracked, scheme: str) -> None:
    """A published model is an artifact that names its files' places and hashes and copies none."""
    (model,) = [a for a in of_type(tracked.train, "artifact") if a["name"] == f"mnist-{scheme}"]
    (file,) = model["manifest"]["contents"]
    assert file["ref"] == f"{PLACES[scheme]}/model.safetensors"
    assert file["extra"] == {"sha256": SHA256}
    assert "local_path" not in file
    assert model["type"] == "model"
    assert "best" in model["aliases"]
    assert json.loads(model["metadata"])["val/nelbo"] == 99.5


def test_an_exception_marks_the_open_runs_failed(tmp_path: Path) -> None:
    """A run that is open when the pipeline fails ends with a non-zero exit code."""
    with pytest.raises(RuntimeError), Tracker("run", tmp_path) as tracker:
        tracker.start_run(Label("final", "train", "final"), {})
        raise RuntimeError
    (path,) = tracker.paths
    assert [record["exit_code"] for record in of_type(inspect(path), "exit")] == [1]


def test_the_process_is_left_as_it_was_found(tmp_path: Path) -> None:
    """W&B leaves no signal handler, exit hook, exception hook or variable behind."""

    def state() -> tuple[object, ...]:
        handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
        return handlers, sys.exit, sys.excepthook, dict(os.environ)

    before = state()
    with Tracker("run", tmp_path) as tracker:
        tracker.start_run(Label("final", "train", "final"), {})
    assert tracker.paths
    assert state() == before


def test_disabled_writes_nothing_and_warns_of_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """WANDB_MODE=disabled accepts every call, leaves no file and loses nothing it promised."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with Tracker("run", tmp_path / "w") as tracker:
        run = tracker.start_run(Label("final", "train", "final"), {"a": 1})
        run.log({"epoch": 0, "val/nelbo": 1.0}, step=0)
        run.show({"samples": Picture(png(1), "")})
        run.set_summary({"test/nelbo": 1.0})
        run.log_reference(Reference("m", "model", "s3://b/m", {"f": SHA256}, {}))
        run.alert("title", "text")
    assert (tracker.paths, tracker.urls, warnings_in(caplog)) == ([], [], [])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_unknown_mode_is_the_users_to_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt WANDB_MODE is refused before anything starts, with the closest mode."""
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(UserError, match=r"'ofline'.*did you mean 'offline'"):
        Tracker("run", tmp_path)


def test_metrics_without_their_step_metric_are_refused(tmp_path: Path) -> None:
    """A point that cannot be placed on its curve is the caller's mistake, told at once."""
    with Tracker("run", tmp_path) as tracker:
        run = tracker.start_run(Label("final", "train", "final"), {})
        with pytest.raises(ValueError, match="epoch"):
            run.log({"val/nelbo": 1.0}, step=0)
