"""Online, against a server of W&B's protocol: what arrives, and what a bad server costs."""

import time
from pathlib import Path

import pytest

from tests.support.refusals import catch_refusal
from tests.support.wandb_runs import (
    png,
    warnings_in,
)
from tests.support.wandb_server import KEY, WandbServer, serve_wandb
from vae.tracking.aliases import drop_alias, mark_deleted, move_alias
from vae.tracking.sync import push
from vae.tracking.tracker import Tracker
from vae.tracking.values import Histogram, Label, Picture, Reference

pytestmark = pytest.mark.slow
TRAIN = Label("7-train", "train", "run-7 train", ("digits",), "vae run --run-id run-7")
FILES = {"model.safetensors": "5a" * 32}


def track_epochs(tracker: Tracker, epochs: range, attempt: int) -> None:
    """What an attempt at a training tells, ten steps an epoch."""
    run = tracker.start_run(TRAIN, {"model": {"latent_dim": 8}, "attempt": attempt})
    for epoch in epochs:
        run.log({"epoch": epoch, "val/loss": 100.0 - epoch}, step=10 * epoch)


def test_everything_arrives(online: WandbServer, tmp_path: Path) -> None:
    """Group, name, tags, notes, config, curves, pictures, both artifacts and the alert."""
    with Tracker("run-7", tmp_path, project="digits") as tracker:
        track_epochs(tracker, range(1, 4), attempt=1)
        run = tracker.start_run(Label("7-evaluate", "evaluate", "run-7 evaluate"), {})
        run.show({"pictures/samples": Picture(png(1), "a"), "rates": Histogram([1.0, 2.0])})
        run.use_reference(Reference("digits", "dataset", "s3://b/d", {"a.npy": "0"}, {}))
        run.log_reference(Reference("fc", "model", "s3://b/m", FILES, {}, ["best"]))
        run.alert("a new best", "by far")
    train = online.runs["7-train"]
    names = ("groupName", "project", "jobType", "displayName", "tags", "notes")
    assert [train.last(name) for name in names] == [
        "run-7",
        "digits",
        "train",
        "run-7 train",
        ["digits"],
        "vae run --run-id run-7",
    ]
    assert train.config == {"model": {"latent_dim": 8}, "attempt": 1}
    rows = [(row["_step"], row["epoch"], row["val/loss"]) for row in train.history]
    assert rows == [(10, 1, 99), (20, 2, 98), (30, 3, 97)]
    assert (train.exit_code, online.runs["7-evaluate"].exit_code) == (0, 0)
    assert png(1) in online.uploads.values()
    made = {
        one["artifactCollectionName"]: [each["alias"] for each in one["aliases"]]
        for one in online.artifacts
    }
    assert "best" in made["fc"] and "digits" in made
    assert [given["title"] for given in online.alerts] == ["a new best"]
    assert [name for name, _ in online.asked].count("UseArtifact") == 1
    assert tracker.urls and not tracker.unsent


def test_another_attempt_continues_the_run_and_its_steps_never_go_back(
    online: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an earlier attempt has told is left out; WANDB_RUN_ID changes nothing."""
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    for attempt, epochs in ((1, range(1, 4)), (2, range(2, 6))):
        with Tracker("run-7", tmp_path) as tracker:
            track_epochs(tracker, epochs, attempt)
    assert list(online.runs) == ["7-train"]
    assert [row["epoch"] for row in online.runs["7-train"].history] == [1, 2, 3, 4, 5]
    assert online.runs["7-train"].config["attempt"] == 2


def test_attempts_made_offline_are_joined_when_they_are_pushed(
    online: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two folders become one run, in order, whether they are pushed together or one by one."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    folders = []
    for attempt, epochs in ((1, range(1, 4)), (2, range(4, 6)), (3, range(6, 7))):
        with Tracker("run-7", tmp_path) as tracker:
            track_epochs(tracker, epochs, attempt)
        folders += tracker.unsent
        time.sleep(1)  # W&B names a folder by the second
    assert len(set(folders)) == 3 and not online.runs
    assert push(folders[:2]) == folders[:2]
    assert push(folders[2:]) == folders[2:]
    assert list(online.runs) == ["7-train"]
    rows = [(row["_step"], row["epoch"]) for row in online.runs["7-train"].history]
    assert rows == [(10 * epoch, epoch) for epoch in range(1, 7)]
    assert online.runs["7-train"].config["attempt"] == 3


def test_a_server_that_dies_costs_nothing_but_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls go on at once, close ends in time, and what W&B lacks lies where the warning says."""
    with serve_wandb() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        tracker = Tracker("run-7", tmp_path, close_seconds=6)
        run = tracker.start_run(TRAIN, {})
        run.log({"epoch": 1}, step=1)
        while "7-train" not in server.runs:
            time.sleep(0.01)
    run.log({"epoch": 2}, step=2)
    tracker.close()
    (path,) = tracker.unsent
    assert list(path.glob("*.wandb"))
    assert any(f"which is in {path}" in warning for warning in warnings_in(caplog))


def test_an_alias_is_moved_by_hand(
    online: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the artifact that says it is the version, away from any other; else the reason is told."""
    with Tracker("run-7", tmp_path) as tracker:
        run = tracker.start_run(Label("7-evaluate", "evaluate", "run-7 evaluate"), {})
        for version, aliases in (("v1", []), ("v2", ["best"])):
            uri, facts = f"s3://b/models/m/{version}", {"version": version}
            run.log_reference(Reference("m", "model", uri, FILES, facts, aliases))
    monkeypatch.setenv("WANDB_ENTITY", "team")
    assert move_alias("m", "v1", "best") == "team/vae-pipeline/m:v0"
    assert move_alias("m", "v2", "prod") == "team/vae-pipeline/m:v1"
    first, second = online.list_aliases("m")
    assert ("best" in first, "best" in second) == (True, False)
    assert ("prod" in first, "prod" in second) == (False, True)
    assert drop_alias("m", "v2", "prod") == "team/vae-pipeline/m:v1"
    assert mark_deleted("m", "v1") == "team/vae-pipeline/m:v0"
    assert [aliases - {"latest"} for aliases in online.list_aliases("m")] == [set(), set()]
    assert online.artifacts[0]["tags"] == [{"tagName": "deleted"}]
    for collection, version in (("m", "v3"), ("other", "v1")):
        said = catch_refusal(move_alias, collection, version, "best")
        assert f"W&B has no team/vae-pipeline/{collection} of version {version}" in said
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert catch_refusal(move_alias, "m", "v2", "best") == "W&B is offline (WANDB_MODE)"


def test_a_slow_server_stalls_nobody_and_loses_nothing(online: WandbServer, tmp_path: Path) -> None:
    """Every call is back before the first answer; what is not sent in time, is sent by a push."""
    online.delay_s = 1.0
    with Tracker("run-7", tmp_path, close_seconds=24) as tracker:
        track_epochs(tracker, range(1, 50), attempt=1)
        for trial in range(4):
            run = tracker.start_run(Label(f"7-{trial}", "search", f"trial {trial}"), {})
            run.log({"epoch": 1, "val/loss": 2.0}, step=10)
        assert "7-train" not in online.runs
    assert "7-3" not in online.runs
    online.delay_s = 0.0
    assert push(tracker.unsent) == tracker.unsent
    assert len(online.runs["7-train"].history) == 49
    assert [len(online.runs[f"7-{trial}"].history) for trial in range(4)] == [1, 1, 1, 1]
