"""Tracking, read back from real offline W&B runs, and what is left of it when W&B breaks."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from vae.errors import UserError
from vae.tracking import Tracker
from vae.tracking.background import Background

Record = dict[str, Any]
CLOSED_SERVER = "http://127.0.0.1:9"  # the discard port: nothing listens
KEY = "0123456789" * 4
SHA256 = "5a" * 32
PLACES = {"s3": "s3://bucket/models/mnist/1", "file": "file:///store/models/mnist/1"}


@pytest.fixture(scope="module", autouse=True)
def private_wandb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """wandb with no key and no settings of the user's, and its files in a temporary folder."""
    home = tmp_path_factory.mktemp("wandb-home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "NETRC"):
            patch.setenv(name, str(home / name.lower()))
        yield patch


def png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 3), shade).save(file, "png")
    return file.getvalue()


def inspect(path: Path) -> list[Record]:
    """Return the records of an offline run, as W&B's own reader prints them."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", str(path), "--json"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return [json.loads(line) for line in printed.stdout.splitlines()]


def of_type(records: list[Record], kind: str) -> list[Record]:
    return [record[kind] for record in records if record["type"] == kind]


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "vae.tracking"]


def history(records: list[Record], key: str) -> list[Any]:
    items = [record["item"] for record in of_type(records, "history")]
    return [item[key] for item in items if key in item]


class Tracked(NamedTuple):
    train: list[Record]
    trial: list[Record]
    train_path: Path


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    """Two runs that were open at once and logged in turn, read back."""
    with Tracker("run-7", tmp_path_factory.mktemp("tracked"), project="digits") as tracker:
        train = tracker.run("train", "final", {"optim": {"lr": 1e-3}, "hidden": [400]})
        trial = tracker.run("search", "trial-0", {"model.latent_dim": 8})
        for epoch, nelbo in enumerate([120.0, 99.5, 101.25]):
            train.log({"epoch": epoch, "val/nelbo": nelbo})
            trial.log({"epoch": epoch, "val/nelbo": nelbo + 50})
        train.log({"step": 40, "train/nelbo": 110.5}, step_metric="step")
        train.images("samples", {"epoch 1": png(10), "epoch 2": png(200)})
        train.table("metrics", ["split", "nelbo"], [["val", 99.5], ["test", 98.0]])
        train.summary({"test/nelbo": 98.0})
        for scheme, uri in PLACES.items():
            train.reference_artifact(
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
        tracker.run("train", "final", {})
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
        tracker.run("train", "final", {})
    assert tracker.paths
    assert state() == before


@pytest.mark.parametrize("where", ["environment", "netrc"])
def test_an_unreachable_server_means_offline(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a key but no server, everything is logged offline, and no caller waited for that."""
    if where == "environment":
        monkeypatch.setenv("WANDB_MODE", "online")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
    else:
        Path(os.environ["NETRC"]).write_text(f"machine 127.0.0.1:9 login user password {KEY}\n")
    monkeypatch.setenv("WANDB_BASE_URL", CLOSED_SERVER)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    with Tracker("run", tmp_path) as tracker:
        run = tracker.run("train", "final", {})
        for epoch in range(200):
            run.log({"epoch": epoch})
        assert tracker.paths == []  # W&B is still asking the server: the callers are ahead of it
    (path,) = tracker.paths
    assert history(inspect(path), "epoch") == list(range(200))
    (warning,) = warnings_in(caplog)
    assert warning.startswith("W&B: init failed, training goes on: CommError")


def test_online_without_a_key_is_offline_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """WANDB_MODE=online without a key asks nobody for one: it warns and stays offline."""
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:10")
    with Tracker("run", tmp_path) as tracker:
        tracker.run("train", "final", {})
    assert len(tracker.paths) == 1
    assert warnings_in(caplog) == ["W&B is offline: WANDB_MODE is online, but no key is configured"]


def test_a_directory_that_cannot_be_made_costs_the_curves_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nothing can be written, calls return, close returns, and the loss is said aloud."""
    (tmp_path / "file").touch()
    with Tracker("run", tmp_path / "file" / "below") as tracker:
        run = tracker.run("train", "final", {})
        run.log({"epoch": 0})
    warnings = warnings_in(caplog)
    assert "NotADirectoryError" in warnings[0]
    assert warnings[-1] == "W&B did not receive 2 updates"
    assert tracker.paths == []


def test_disabled_writes_nothing_and_warns_of_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """WANDB_MODE=disabled accepts every call, leaves no file and loses nothing it promised."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with Tracker("run", tmp_path / "w") as tracker:
        run = tracker.run("train", "final", {"a": 1})
        run.log({"epoch": 0, "val/nelbo": 1.0})
        run.images("samples", {"": png(1)})
        run.table("metrics", ["a"], [[1]])
        run.summary({"test/nelbo": 1.0})
        run.reference_artifact(
            "m", "model", "s3://b/m", files={"f": SHA256}, aliases=[], metadata={}
        )
    assert (tracker.paths, tracker.urls, warnings_in(caplog)) == ([], [], [])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_unknown_mode_is_the_users_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt WANDB_MODE is refused before anything starts, with the closest mode."""
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(UserError, match=r"'ofline'.*did you mean 'offline'"):
        Tracker("run", tmp_path)


def test_metrics_without_their_step_metric_are_refused(tmp_path: Path) -> None:
    """A point that cannot be placed on its curve is the caller's mistake, told at once."""
    with Tracker("run", tmp_path) as tracker:
        run = tracker.run("train", "final", {})
        with pytest.raises(ValueError, match="epoch"):
            run.log({"val/nelbo": 1.0})


def test_a_bad_call_costs_itself_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After a call that W&B refuses, the run goes on; failures of one kind are warned of once."""
    with Tracker("run", tmp_path) as tracker:
        run = tracker.run("evaluate", "test", {})
        for _ in range(2):
            run.images("samples", {"not a picture": b"\0"})
        run.log({"epoch": 3})
    (path,) = tracker.paths
    assert history(inspect(path), "epoch") == [3]
    refused, lost = warnings_in(caplog)
    assert refused.startswith("W&B: images failed, training goes on: UnidentifiedImageError")
    assert lost == "W&B did not receive 2 updates"


def test_what_a_full_queue_drops_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """A queue whose consumer is stuck stays bounded; the rest is dropped, and told at close."""
    stuck, release, done = threading.Event(), threading.Event(), list[int]()

    def block() -> None:
        stuck.set()
        release.wait()

    background = Background("Library", logging.getLogger("vae.tracking"), limit=3)
    background.submit(block)
    stuck.wait()
    for number in range(10):
        background.submit(partial(done.append, number))
    background.submit(partial(done.append, 99), must=True)
    release.set()
    assert background.close(60.0)
    assert done == [0, 1, 2, 99]
    assert warnings_in(caplog) == ["Library did not receive 7 updates"]


SERVICE = textwrap.dedent(
    """
    import logging, os, signal, sys, time
    from pathlib import Path
    from vae.tracking import Tracker

    logging.basicConfig(level="WARNING", format="%(message)s")
    warned = []
    logging.getLogger("vae.tracking").addFilter(lambda record: warned.append(record) or True)

    def service():
        for folder in Path("/proc").glob("[0-9]*"):
            name, parent = (folder / "stat").read_text().rsplit(")", 1)
            if "wandb-core" in name and int(parent.split()[1]) == os.getpid():
                return int(folder.name)

    def wait_until(condition):
        while not condition():
            time.sleep(0.01)

    tracker = Tracker("run", Path(sys.argv[1]), close_seconds=float(sys.argv[2]))
    run = tracker.run("train", "final", {})
    run.log({"epoch": 0})
    wait_until(lambda: tracker.paths)
    pid = service()
    """
)


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run_script(script: str, directory: Path, *, close_seconds: float) -> Ended:
    """Run `script` after SERVICE. Through files: a service left behind would keep pipes open."""
    code = SERVICE + textwrap.dedent(script)
    command = [sys.executable, "-c", code, str(directory / "run"), str(close_seconds)]
    out, err = directory / "out", directory / "err"
    with out.open("w") as stdout, err.open("w") as stderr:
        ended = subprocess.run(command, stdout=stdout, stderr=stderr, timeout=60, check=False)
    return Ended(ended.returncode, out.read_text(), err.read_text())


linux_only = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


@linux_only
def test_a_killed_service_stops_nothing_and_the_next_run_is_tracked(tmp_path: Path) -> None:
    """After kill -9 of W&B's service, calls return, a warning says so, and a new run works."""
    script = """
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: run.log({"epoch": 1}) or warned)
    run.finish()
    tracker.run("evaluate", "test", {}).log({"epoch": 5})
    tracker.close()
    print(tracker.paths[1])
    """
    ended = run_script(script, tmp_path, close_seconds=60)
    assert ended.returncode == 0, ended.stderr
    assert "W&B: log failed, training goes on: " in ended.stderr
    assert "W&B did not receive" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert history(inspect(Path(ended.stdout.strip())), "epoch") == [5]


@linux_only
def test_a_stuck_service_delays_neither_close_nor_exit(tmp_path: Path) -> None:
    """With W&B's service stopped for good, close gives up at its deadline and the process ends."""
    script = """
    os.kill(pid, signal.SIGSTOP)
    print(pid, flush=True)
    run.log({"epoch": 1})
    tracker.close()
    """
    ended = run_script(script, tmp_path, close_seconds=1)
    os.kill(int(ended.stdout), signal.SIGKILL)
    assert ended.returncode == 0, ended.stderr
    assert "W&B is stuck and left behind" in ended.stderr
    assert "Traceback" not in ended.stderr
