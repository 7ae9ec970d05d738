"""The whole pipeline as a person runs it: real data, Prefect, Ray and W&B, on both stores."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vae.checkpoint import saved
from vae.registry import list_versions
from vae.store import open_store

VAE = Path(sys.executable).with_name("vae")


def vae(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [VAE, *arguments], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


def history(store: str, run_id: str) -> list[dict[str, float]]:
    """What the final training recorded of every epoch, without the clock."""
    rows = json.loads(open_store(store).read(f"runs/{run_id}/train.json"))["history"]
    clock = ("began", "ended", "images_per_s")
    return [{key: row[key] for key in row if key not in clock} for row in rows]


@pytest.mark.usefixtures("quiet_home")
def test_the_pipeline_publishes_a_model_that_can_be_pulled_and_used(
    store_uri: str, tmp_path: Path
) -> None:
    """From nothing to pictures of a pulled model; the same run again does nothing anew."""
    run = ("run", "--experiment", "tiny", "--store", store_uri, "--run-id", "first")
    done = vae(*run, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "orchestration" in done.stdout

    [version] = list_versions(open_store(store_uri), "tiny")
    assert version.best
    assert 100 < version.metrics["test/nll"] <= version.metrics["test/nelbo"] < 300

    pulled = vae("pull", "tiny", "--to", "model", "--store", store_uri, cwd=tmp_path)
    assert pulled.returncode == 0, pulled.stderr
    local = store_uri.startswith("file:")  # a pulled model is the same from either store
    pictures = ("sample", "reconstruct", "interpolate", "latent") if local else ("sample",)
    for picture in pictures:
        drawn = vae(picture, "model", "--out", f"{picture}.png", cwd=tmp_path)
        assert drawn.returncode == 0, drawn.stderr
        assert (tmp_path / f"{picture}.png").read_bytes().startswith(b"\x89PNG")

    runs = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(runs) == 2 + 1 + 1, "two trials, the training and the evaluation"

    again = vae(*run, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("done before") == 5
    assert len(list_versions(open_store(store_uri), "tiny")) == 1


@pytest.mark.usefixtures("quiet_home")
def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """SIGKILL of the driver and all of its workers in mid-training changes nothing in the end."""
    store = str(tmp_path / "store")
    fixed = ("--set", "search.trials=0", "--set", "train.epochs=30", "--set", "data.limit=3000")
    whole = ("train", "--experiment", "tiny", "--store", store, *fixed)
    killed = subprocess.Popen([VAE, *whole, "--run-id", "killed"], cwd=tmp_path)
    wait_for_checkpoint(store, "killed")
    kill_all(killed)
    assert open_store(store).exists("runs/killed/data.json")
    assert not open_store(store).exists("runs/killed/train.json")

    resumed = vae("train", "--run-id", "killed", "--store", store, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "resumed after epoch" in resumed.stdout

    straight = vae(*whole, "--run-id", "straight", cwd=tmp_path)
    assert straight.returncode == 0, straight.stdout + straight.stderr
    assert history(store, "killed") == history(store, "straight")


def wait_for_checkpoint(store: str, run_id: str) -> None:
    """Until the run has saved an epoch; fails after two minutes."""
    deadline = time.monotonic() + 120
    while not saved(open_store(store), f"runs/{run_id}/checkpoints"):
        assert time.monotonic() < deadline, "no checkpoint appeared"
        time.sleep(0.05)


def kill_all(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL a process and everything that it started."""
    pids, found = [process.pid], [process.pid]
    while found:
        found = [child for pid in found for child in children(pid)]
        pids += found
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    process.wait()


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]
