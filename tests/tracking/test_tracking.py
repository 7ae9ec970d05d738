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
    private_wandb,  # noqa: F401 (autouse)
    warnings_in,
)
from vae.errors import UserError
from vae.tracking.tracker import Tracker

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
        train = tracker.start_run("train", "final", {"optim": {"lr": 1e-3}, "hidden": [400]})
        trial = tracker.start_run("search", "trial-0", {"model.latent_dim": 8})
        for epoch, nelbo in enumerate([120.0, 99.5, 101.25]):
            train.log({"epoch": epoch, "val/nelbo": nelbo})
            trial.log({"epoch": epoch, "val/nelbo": nelbo + 50})
        train.log({"step": 40, "train/nelbo": 110.5}, step_metric="step")
        train.log_images("samples", {"epoch 1": png(10), "epoch 2": png(200)})
        train.log_table("metrics", ["split", "nelbo"], [["val", 99.5], ["test", 98.0]])
        train.set_summary({"test/nelbo": 98.0})
        for scheme, uri in PLACES.items():
            train.log_reference(
                f"mnist-{scheme}",
                "model",
                uri,
                files={"model.safetensors": SHA256},
                aliases=["best"],
                metadata={"val/nelbo": 99.5},
            )
    train_path, trial_path = tracker.paths
    return Tracked(inspect(train_path), inspect(trial_path), train_path)


def test_runs_carry_group_job_type_name_project_and_config(tracked: Tracked) -> None:
    """A reader of the dashboard finds each stage under its pipeline run, with its settings."""
    (train,), (trial,) = of_type(tracked.train, "run"), of_type(tracked.trial, "run")
    names = ("project", "run_group", "job_type", "display_name")
    assert [train[name] for name in names] == ["digits", "run-7", "train", "final"]
    assert [trial[name] for name in names] == ["digits", "run-7", "search", "trial-0"]
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
    assert over == {"val/nelbo": "epoch", "train/nelbo": "step"}


def test_summary_keeps_the_lowest_bound_and_the_final_values(tracked: Tracked) -> None:
    """The summary compares runs by their best validation bound, not by the last one."""
    summary: Record = {}
    for record in of_type(tracked.train, "summary"):
        summary |= record.get("update", {})
    assert summary["val/nelbo"] == {"min": 99.5}
    assert summary["test/nelbo"] == 98.0


def test_images_and_tables_read_back(tracked: Tracked) -> None:
    """Pictures keep their pixels and captions, tables their columns and rows."""
    (captions,) = history(tracked.train, "samples.captions")
    (names,) = history(tracked.train, "samples.filenames")
    shades = [Image.open(tracked.train_path / "files" / name).getpixel((0, 0)) for name in names]
    assert dict(zip(captions, shades, strict=True)) == {"epoch 1": 10, "epoch 2": 200}
    (name,) = history(tracked.train, "metrics.path")
    table = json.loads((tracked.train_path / "files" / name).read_text())
    assert table["columns"] == ["split", "nelbo"]
    assert table["data"] == [["val", 99.5], ["test", 98.0]]


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
        tracker.start_run("train", "final", {})
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
        tracker.start_run("train", "final", {})
    assert tracker.paths
    assert state() == before


def test_disabled_writes_nothing_and_warns_of_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """WANDB_MODE=disabled accepts every call, leaves no file and loses nothing it promised."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with Tracker("run", tmp_path / "w") as tracker:
        run = tracker.start_run("train", "final", {"a": 1})
        run.log({"epoch": 0, "val/nelbo": 1.0})
        run.log_images("samples", {"": png(1)})
        run.log_table("metrics", ["a"], [[1]])
        run.set_summary({"test/nelbo": 1.0})
        run.log_reference("m", "model", "s3://b/m", files={"f": SHA256}, aliases=[], metadata={})
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
        run = tracker.start_run("train", "final", {})
        with pytest.raises(ValueError, match="epoch"):
            run.log({"val/nelbo": 1.0})
