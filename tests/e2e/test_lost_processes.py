"""Ray's own processes are killed in mid-training: it goes on, or ends in one line, at once."""

import os
import signal
from pathlib import Path

import pytest
import torch

from tests.e2e.test_recovery import newest_content, of_name, train_straight_on, weights_in
from tests.support.command import Started, descendants, vae, wait_for_end
from tests.support.distributed import spawned
from vae.store.open import open_store
from vae.training.checkpoints import list_checkpoints

EPOCHS = 120
SETTINGS = ("search.trials=0", f"train.epochs={EPOCHS}", "train.precision=float64")
CHECKPOINTS = "runs/killed/checkpoints"


@pytest.mark.usefixtures("quiet_home")
def test_rays_own_processes_are_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its event queue and its controller a training goes on; without its raylet it ends.

    Continued after that, it has the same bits as one that nothing happened to.
    """
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    store, go_on = open_store(str(tmp_path / "store")), ("train", "--run-id", "killed")
    here = ("--store", store.uri, "--workers", "2")
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    training = Started(*go_on, *here, "--experiment", "tiny", *settings, cwd=tmp_path)

    training.until(lambda: "train    epoch" in training.output)
    kill(training, "ray::_QueueActor")
    seen = len(training.output)
    training.until(lambda: "train    epoch" in training.output[seen:])
    assert "resumed after epoch" not in training.output

    kill(training, "ray::TrainController")
    training.until(lambda: "(1 of at most 3 times)" in training.output)
    training.until(lambda: "resumed after epoch" in training.output)
    resumed = list_checkpoints(store, CHECKPOINTS)[0].epoch
    training.until(lambda: list_checkpoints(store, CHECKPOINTS)[0].epoch > resumed)

    processes = descendants(training.process.pid)
    kill(training, "raylet/raylet")
    assert training.process.wait(60) == 1
    wait_for_end(processes)
    assert training.output.splitlines()[-1] == (
        "vae: the local Ray session is over: its raylet process has ended; "
        f"continue with: vae train --run-id killed --store {store.uri}"
    )
    assert "Traceback" not in training.output

    done = vae(*go_on, *here, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    straight = spawned(2, train_straight_on, store.uri)[0]
    torch.testing.assert_close(weights_in(newest_content(store)), straight[-1], rtol=0, atol=0)
    assert not store.exists("runs/killed/ray")


def kill(training: Started, name: str) -> None:
    """SIGKILL the one process of that name."""
    (process,) = of_name(name, descendants(training.process.pid))
    os.kill(process, signal.SIGKILL)
