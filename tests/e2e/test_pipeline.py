"""The whole pipeline as a person runs it: real data, Prefect, Ray and W&B, in a folder.

On S3 it is run by test_deployment.py.
"""

from pathlib import Path

import pytest
import torch

from flows.cli import app
from tests.support.arrived_runs import check_arrived
from tests.support.command import vae
from tests.support.splits import load
from tests.support.wandb_server import serve_wandb
from vae.data.datasets import DatasetRef
from vae.experiments.loading import apply_overrides, parse_experiment
from vae.registry.read import list_versions
from vae.runs.run import Run, open_run
from vae.store.open import open_store
from vae.training.checkpoints import read_latest
from vae.training.fit import Fit


@pytest.mark.usefixtures("quiet_home")
def test_the_pipeline_publishes_a_model_that_can_be_pulled_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From nothing to pictures of a pulled model; the same run again does nothing anew.

    W&B gets what was tracked meanwhile once it is asked to.
    """
    store_uri = str(tmp_path / "store")
    run = ("run", "--experiment", "tiny", "--store", store_uri, "--run-id", "first")
    done = vae(*run, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "orchestration" in done.stdout
    assert "goes on after the winner's 2 epochs, of 3" in done.stdout
    check_winner_is_trained_on(open_run(open_store(store_uri), "first"))

    [version] = list_versions(open_store(store_uri), "tiny")
    assert version.best
    assert 100 < version.metrics["test/nll"] <= version.metrics["test/nelbo"] < 300
    assert 100 < version.metrics["val/nll"] < 300

    pulled = vae("pull", "tiny", "--to", "model", "--store", store_uri, cwd=tmp_path)
    assert pulled.returncode == 0, pulled.stderr
    for picture in ("sample", "reconstruct", "interpolate", "latent"):
        png = tmp_path / f"{picture}.png"
        app([picture, str(tmp_path / "model"), "--out", str(png)], standalone_mode=False)
        assert png.read_bytes().startswith(b"\x89PNG")

    runs = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(runs) == 2 + 1 + 1, "two trials, the training and the evaluation"

    again = vae(*run, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("done before") == 5
    assert len(list_versions(open_store(store_uri), "tiny")) == 1
    send_from_elsewhere(tmp_path / "store", monkeypatch)


def send_from_elsewhere(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was tracked offline reaches W&B from the store alone; a second time nothing is sent."""
    elsewhere = store.parent / "elsewhere"
    elsewhere.mkdir()
    send = ("sync", "first", "--store", str(store))
    with serve_wandb() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
        sent = vae(*send, cwd=elsewhere)
        assert sent.returncode == 0, sent.stdout + sent.stderr
        assert sent.stdout == f"first: 4 of 4 W&B runs sent to {server.url}\n"
        check_arrived(server, store)
        again = vae(*send, cwd=elsewhere)
        assert again.stdout == "W&B has everything that was tracked\n", again.stderr


def check_winner_is_trained_on(run: Run) -> None:
    """Training's history begins with the winner's trial; its weights are one process's, rounded."""
    searched, trained = run.read_result("search"), run.read_result("train")
    content, prepared = (
        read_latest(run.store, f"{run.prefix}/checkpoints"),
        run.read_result("data"),
    )
    assert searched and trained and content and prepared
    rows = trained["history"]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    [winner] = [one for one in searched["trials"] if one["overrides"] == searched["overrides"]]
    assert [row["val/loss"] for row in rows[:2]] == winner["losses"]
    assert [[row["began"], row["ended"]] for row in rows[:2]] == winner["spans"]

    ref = DatasetRef.from_json(prepared["dataset"])
    train, val = (torch.from_numpy(load(ref, run.store, part).images) for part in ("train", "val"))
    plain = apply_overrides(run.experiment.to_dict(), searched["overrides"])
    fit = Fit(parse_experiment(plain), train, val, torch.device("cpu"))
    for _ in rows:
        fit.run_epoch(fit.state.model, lambda step: None)
    expected = fit.state.averaged.state_dict()
    torch.testing.assert_close(content["averaged"], expected, rtol=1e-2, atol=1e-3)
