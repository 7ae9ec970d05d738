"""Killed and stopped in mid-training, on real Ray workers: the weights are the same in the end.

Of Ray's own processes, those that a training goes on without are killed; tests/chaos has others.
"""

import copy
import json
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.support.command import Started, descendants, named, vae, wait_for_end
from tests.support.distributed import spawned
from tests.support.splits import load
from vae.data.datasets import DatasetRef
from vae.runs.run import open_run
from vae.store.open import open_store
from vae.store.promises import Store
from vae.training import checkpoints
from vae.training.batches import Shard
from vae.training.checkpoints import list_checkpoints
from vae.training.fit import Fit, wrap_data_parallel

EPOCHS = 60
CHECKPOINTS = "runs/killed/checkpoints"
SETTINGS = (
    "search.trials=0",
    f"train.epochs={EPOCHS}",
    "train.precision=float64",
    "train.checkpoint_minutes=0.001",  # some within every epoch
)
RAYS_OWN = {"IDLE", "DashboardAgent", "RuntimeEnvAgent"}
Weights = dict[str, dict[str, Tensor]]  # by model or averaged, then by parameter


@pytest.mark.usefixtures("quiet_home")
def test_a_run_that_is_killed_ends_as_if_nothing_had_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The channel, a worker, then everything is killed; then Ctrl-C.

    The weights are the same bits as long as two workers train them, within 1e-8 where one goes on.
    """
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    store, go_on = open_store(str(tmp_path / "store")), ("train", "--run-id", "killed")
    here = ("--store", store.uri)

    settings = ("--experiment", "tiny", *(w for setting in SETTINGS for w in ("--set", setting)))
    begun = Started(*go_on, *here, *settings, "--workers", "1:2", cwd=tmp_path)
    kill_the_channel(begun)
    newest = kill_a_worker_then_all(begun, store)
    store.put(newest.key, store.read(newest.key)[:-1])
    before = list_checkpoints(store, CHECKPOINTS)[1]

    resumed = Started(*go_on, *here, "--workers", "2", cwd=tmp_path)
    within = f", step {before.step} of the next" if before.step else ""
    line = f"resumed after epoch {before.epoch} of {EPOCHS}{within}\n"
    resumed.until(lambda: line in resumed.output)
    assert f"{newest.key} is corrupt" in resumed.output
    assert list_actors(resumed) == {"RayTrainWorker", "SynchronizationActor", "Channel"}
    resumed.until(lambda: list_checkpoints(store, CHECKPOINTS)[0].epoch > newest.epoch)
    interrupt(resumed)
    again = f"continue with: vae train --run-id killed --store {store.uri} --workers 2\n"
    assert again in resumed.output

    stopped = newest_content(store)
    straight = spawned(2, train_straight_on, store.uri, stopped["step"])[0]
    torch.testing.assert_close(weights_in(stopped), straight[0], rtol=0, atol=0)

    done = vae(*go_on, *here, "--workers", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"resumed after epoch {stopped['epoch']} of" in done.stdout
    assert [row["epoch"] for row in history(store)] == list(range(1, EPOCHS + 1))
    ended = newest_content(store)
    torch.testing.assert_close(weights_in(ended), straight[-1], rtol=1e-8, atol=1e-10)
    assert not store.exists("runs/killed/ray"), "Ray's own bookkeeping stays out of the store"


def kill_the_channel(training: Started) -> None:
    """SIGKILL the process that epochs are told through: they are told again, and none is lost."""
    training.until(lambda: "train    epoch" in training.output)
    kill_one("ray::Channel", training)
    seen = len(training.output)
    training.until(lambda: "train    epoch" in training.output[seen:])
    assert "resumed after epoch" not in training.output


def kill_one(name: str, training: Started) -> None:
    """SIGKILL the one process of that name."""
    (process,) = of_name(name, descendants(training.process.pid))
    os.kill(process, signal.SIGKILL)


def list_actors(training: Started) -> set[str]:
    """What Ray has processes for, beside those of its own: each takes a second or more to start."""
    names = [named(pid) for pid in of_name("ray::", descendants(training.process.pid))]
    return {name.removeprefix("ray::").split()[0].split(".")[0] for name in names} - RAYS_OWN


def kill_a_worker_then_all(training: Started, store: Store) -> checkpoints.Checkpoint:
    """SIGKILL one worker, and once the others go on, at any moment, everything; what was saved."""
    training.until(lambda: list_checkpoints(store, CHECKPOINTS))
    workers = of_name("ray::RayTrainWorker", descendants(training.process.pid))
    assert len(workers) == 2
    os.kill(random.choice(workers), signal.SIGKILL)
    training.until(lambda: "resumed after epoch" in training.output)
    training.until(lambda: len(list_checkpoints(store, CHECKPOINTS)) > 1)
    time.sleep(random.uniform(0, 1))
    kill_all(training)
    assert not store.exists("runs/killed/train.json")
    return list_checkpoints(store, CHECKPOINTS)[0]


def kill_all(training: Started) -> None:
    """SIGKILL all that it started, but for Prefect's server, which has to end by itself."""
    processes = descendants(training.process.pid)
    server = of_name("flows.server", processes)
    assert len(server) == 1
    for pid in [training.process.pid, *sorted(set(processes) - set(server))]:
        with suppress(ProcessLookupError):  # Ray's end with the one that started them
            os.kill(pid, signal.SIGKILL)
    training.process.wait()
    wait_for_end(server)


def of_name(name: str, pids: list[int]) -> list[int]:
    """Those of the processes whose command line holds a name."""
    return [pid for pid in pids if name in named(pid)]


def interrupt(training: Started) -> None:
    """Press Ctrl-C: it ends in one line and leaves no process behind."""
    processes = descendants(training.process.pid)
    assert training.stop(signal.SIGINT) == 130
    lines = training.output.splitlines()
    assert lines[-1].startswith("vae: stopped by SIGINT")
    assert "Traceback" not in training.output
    wait_for_end(processes)


def train_straight_on(rank: int, world: int, uri: str, stopped: int) -> list[Weights]:
    """The weights after `stopped` steps, and in the end, of the same run without Ray or a stop.

    Collective.
    """
    store = open_store(uri)
    ref = DatasetRef.from_json(json.loads(store.read("runs/killed/data.json"))["dataset"])
    train, val = (torch.from_numpy(load(ref, store, split).images) for split in ("train", "val"))

    def reduce(x: Tensor) -> Tensor:
        dist.all_reduce(x)
        return x

    experiment = open_run(store, "killed").experiment
    fit = Fit(experiment, train, val, torch.device("cpu"), Shard(rank, world), reduce)
    forward, weights = wrap_data_parallel(fit.state.model, torch.device("cpu")), []

    def keep(step: int) -> None:
        if fit.state.step in (stopped, EPOCHS * fit.context.steps_per_epoch):
            models = {"model": fit.state.model, "averaged": fit.state.averaged}
            weights.append({name: copy.deepcopy(m.state_dict()) for name, m in models.items()})

    for _ in range(EPOCHS):
        fit.run_epoch(forward, keep)
    return weights


def weights_in(content: dict[str, Any]) -> Weights:
    """A checkpoint's two sets of weights."""
    return {name: content[name] for name in ("model", "averaged")}


def newest_content(store: Store) -> dict[str, Any]:
    """What the newest checkpoint holds."""
    content = checkpoints.read_latest(store, CHECKPOINTS)
    assert content
    return content


def history(store: Store) -> list[dict[str, float]]:
    """What the training recorded of every epoch."""
    rows: list[dict[str, float]] = json.loads(store.read("runs/killed/train.json"))["history"]
    return rows
