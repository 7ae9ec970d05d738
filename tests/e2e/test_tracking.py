"""A run tracked in W&B: online, and offline and sent later, against a server of its protocol."""

import json
from pathlib import Path

import pytest

from tests.support.command import vae
from tests.support.wandb_server import WandbServer, serve_wandb

SETTINGS = (
    "train.epochs=2",
    'search={trials=2, epochs=1, space={"model.latent_dim"={choice=[3, 4]}}}',
)
RUN = ("run", "--experiment", "tiny", "--store", "my store", "--run-id", "first", "--workers", "1")


def run_tiny(folder: Path) -> None:
    """The whole pipeline, in a small size."""
    done = vae(*RUN, *(part for text in SETTINGS for part in ("--set", text)), cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "W&B" not in done.stderr, done.stderr


def check_arrived(server: WandbServer, folder: Path) -> None:
    """Each W&B run ran with what its config says, and the model was made from the dataset."""
    by_part = {run_id.partition("first-")[2]: run for run_id, run in server.runs.items()}
    assert sorted(by_part) == ["evaluate", "train", "trial-01", "trial-02"]
    records = [
        json.loads(path.read_bytes())
        for path in sorted((folder / "my store/runs/first/search").glob("trial-*.json"))
    ]
    for record in records:
        trial = by_part[f"trial-{record['number']:02d}"]
        given = record["overrides"]["model.latent_dim"]
        assert (trial.config["model"]["latent_dim"], trial.config["train"]["epochs"]) == (given, 1)
        assert trial.summary["best/val_loss"] == pytest.approx(record["loss"])
    best = min(records, key=lambda record: record["loss"])["overrides"]["model.latent_dim"]
    train = by_part["train"]
    assert train.config["model"]["latent_dim"] == best
    assert train.config["attempt"] == 1 and train.last("groupName") == "first"
    epochs = [row for row in train.history if "epoch" in row]
    assert [row["epoch"] for row in epochs] == [1, 2]
    assert all(row["train/gradient_norm"] > 0 < row["train/learning_rate"] for row in epochs)
    assert all(len(row["val/latent_rates"]["values"]) for row in epochs)
    assert {a["artifactTypeName"] for a in server.artifacts} == {"dataset", "model"}
    assert any(name.endswith(".png") for name in server.uploads)
    assert [alert["title"] for alert in server.alerts] == ["tiny has a new best"]


@pytest.mark.slow
@pytest.mark.usefixtures("quiet_home")
def test_a_run_is_tracked_online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything of it is on the server when the command ends, and nothing waits in the store."""
    with serve_wandb() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
        run_tiny(tmp_path)
        check_arrived(server, tmp_path)
    assert not (tmp_path / "my store/runs/first/wandb").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("quiet_home")
def test_what_was_tracked_offline_is_sent_from_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the store alone; a second time nothing is sent."""
    run_tiny(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    send = ("sync", "first", "--store", str(tmp_path / "my store"))
    with serve_wandb() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
        sent = vae(*send, cwd=elsewhere)
        assert sent.returncode == 0, sent.stdout + sent.stderr
        assert sent.stdout == f"first: 4 of 4 W&B runs sent to {server.url}\n"
        check_arrived(server, tmp_path)
        again = vae(*send, cwd=elsewhere)
        assert again.stdout == "W&B has everything that was tracked\n", again.stderr
