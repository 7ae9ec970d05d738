"""What a run leaves, made up: for reports that need no training."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from tests.support.images import draw_images
from vae.data.datasets import DatasetRef
from vae.data.mapped import Examples
from vae.experiments.settings import Experiment, ModelConfig, TrainConfig, Value
from vae.models.networks import build_model
from vae.publishing.epochs import draw_epoch
from vae.publishing.report.findings import Findings, PublishedVersion
from vae.runs.confirmations import Confirmation
from vae.runs.run import Run
from vae.runs.trials import Trial
from vae.store.local import LocalStore

SHAPE = (1, 28, 28)
METRICS = {
    "val/nll": 104.321,
    "test/nelbo": 103.987,
    "test/rate": 24.5,
    "test/distortion": 79.487,
    "test/nll": 98.765,
    "test/nll_samples": 500.0,
    "test/bits_per_dim": 0.18174,
    "test/active_units": 17.0,
}
SEARCHED: dict[str, Value] = {"model.latent_dim": 20, "train.learning_rate": 0.00123456}
TRIALS: list[dict[str, Any]] = [
    {"number": 1, "loss": 110.0, "epochs": 2, "stopped": True, "losses": [120.0, 110.0]},
    {"number": 2, "loss": 104.5, "epochs": 3, "stopped": False, "losses": [115.0, 107.0, 104.5]},
    {"number": 3, "loss": None, "epochs": 0, "stopped": False, "error": "no memory"},
]
IMPORTANCE = {"train.learning_rate": 0.75, "model.latent_dim": 0.25}
CONFIRMED = [
    Confirmation(number=2, overrides=SEARCHED, losses=[105.0, 106.0], errors=[]).to_dict(),
    Confirmation(number=1, overrides=SEARCHED, losses=[110.5, None], errors=["nan"]).to_dict(),
]
HISTORY = [
    {"epoch": epoch, "train/loss": 150.0 / epoch, "val/loss": 140.0 / epoch, "val/rate": 20.0}
    for epoch in range(1, 4)
]
TIMES = {"data": (2.0, 0.0), "search": (30.5, 21.25), "train": (40.0, 33.0), "evaluate": (5.0, 4.0)}
EXPERIMENT = Experiment(name="mnist", train=TrainConfig(epochs=len(HISTORY)))
REF = DatasetRef(
    key="datasets/mnist-1a2b3c4d",
    name="mnist",
    digest="ab" * 32,
    shape=SHAPE,
    counts={"train": 50_000, "val": 10_000, "test": 10_000},
    classes=10,
    files={},
    class_names=("naught", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
)


def make_run(folder: Path, run_id: str = "mnist-test") -> Run:
    """A run that has only begun."""
    return Run(
        run_id=run_id,
        experiment=EXPERIMENT,
        created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        store=LocalStore(folder),
    )


def make_trials(**changes: Any) -> list[Trial]:
    """A trial that was stopped, one that finished and one that failed, each with these changes."""
    whole: dict[str, Any] = {"overrides": SEARCHED, "spans": []}
    return [Trial(**whole | plain | changes) for plain in TRIALS]


def make_findings(folder: Path, latent_dim: int = 3, **changes: Any) -> Findings:
    """Those of a run that is about to be published, with these changes."""
    model = build_model(ModelConfig(latent_dim=latent_dim, hidden=(16,)), SHAPE)
    images = draw_images(40, SHAPE)
    drawn = {kind: sheet.picture for kind, sheet in draw_epoch(model, images).items()}
    stages: dict[str, Any] = {
        stage: {"time": {"seconds": all_s, "compute_s": compute_s}}
        for stage, (all_s, compute_s) in TIMES.items()
    }
    stages["search"] |= {"trials": TRIALS, "importance": IMPORTANCE, "confirmed": CONFIRMED}
    stages["train"]["history"] = HISTORY
    stages["evaluate"]["metrics"] = METRICS
    whole: dict[str, Any] = {
        "run": make_run(folder),
        "experiment": EXPERIMENT,
        "stages": stages,
        "ref": REF,
        "trials": make_trials(),
        "history": HISTORY,
        "model": model,
        "examples": Examples(images, torch.arange(40) % 10),
        "kind": "test",
        "epochs": {kind: {1: picture, 3: picture} for kind, picture in drawn.items()},
        "versions": [PublishedVersion("20260101T000000-before", METRICS | {"val/nll": 105.5})],
    }
    return Findings(**whole | changes)
