"""What a W&B server has of a run, against what the run has in its store."""

import json
from pathlib import Path

import pytest

from tests.support.wandb_server import WandbServer


def check_arrived(server: WandbServer, store: Path) -> None:
    """Each W&B run ran with what its config says, and the model was made from the dataset.

    `store`: the folder with the run `first` of the tiny experiment, of two trials.
    """
    by_part = {run_id.partition("first-")[2]: run for run_id, run in server.runs.items()}
    assert sorted({*by_part} - {"search"}) == ["evaluate", "train", "trial-01", "trial-02"]
    records = [
        json.loads(path.read_bytes())
        for path in sorted((store / "runs/first/search").glob("trial-*.json"))
    ]
    for record in records:
        trial = by_part[f"trial-{record['number']:02d}"]
        given = record["overrides"]["model.latent_dim"]
        assert trial.config["model"]["latent_dim"] == given
        assert trial.config["train"]["epochs"] == trial.config["search"]["epochs"]
        assert trial.summary["best/val_loss"] == pytest.approx(record["loss"])
    best = min(records, key=lambda record: record["loss"])["overrides"]["model.latent_dim"]
    train = by_part["train"]
    assert train.config["model"]["latent_dim"] == best
    assert train.config["attempt"] == 1 and train.last("groupName") == "first"
    epochs = [row for row in train.history if "epoch" in row]
    trained = json.loads((store / "runs/first/train.json").read_bytes())["history"]
    assert [row["epoch"] for row in epochs] == [row["epoch"] for row in trained]
    assert all(row["train/gradient_norm"] > 0 < row["train/learning_rate"] for row in epochs)
    own = epochs[train.config["search"]["epochs"] :]  # the others are the winning trial's
    assert own and all(len(row["val/latent_rates"]["values"]) for row in own)
    assert {a["artifactTypeName"] for a in server.artifacts} == {"dataset", "model"}
    assert any(name.endswith(".png") for name in server.uploads)
    assert [alert["title"] for alert in server.alerts] == ["tiny has a new best"]
