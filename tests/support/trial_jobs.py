"""Trials of a small search, in the tests' own process."""

from datetime import UTC, datetime

import torch
from torch import Tensor

from tuning.design import Candidate
from tuning.trial import TrialFit, TrialJob
from vae.experiments.loading import parse_experiment
from vae.experiments.settings import Experiment
from vae.runs.run import Run
from vae.store.promises import Store
from vae.training.ranks import Ranks

CANDIDATE: Candidate = {"model.latent_dim": 3, "train.learning_rate": 0.01}
EPOCHS = 4  # of each trial


def describe_search(train_epochs: int = 6) -> Experiment:
    """A small experiment with a search of EPOCHS epochs."""
    settings = {
        "name": "small",
        "model": {"hidden": [8]},
        "train": {"epochs": train_epochs, "batch_size": 8},
        "search": {
            "trials": 3,
            "epochs": EPOCHS,
            "space": {
                "model.latent_dim": {"choice": [2, 3]},
                "train.learning_rate": {"low": 0.001, "high": 0.1},
            },
        },
    }
    return parse_experiment(settings)


def begin_run(store: Store) -> Run:
    """A run of it."""
    return Run(run_id="r", experiment=describe_search(), created=datetime.now(UTC), store=store)


def make_job(run: Run) -> TrialJob:
    """What its trials have in common; always the same images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (30, 1, 4, 4), dtype=torch.uint8, generator=generator)
    return TrialJob(
        plain=run.experiment.to_dict(),
        store=run.store,
        prefix=f"{run.prefix}/search",
        train=images,
        val=images[:10],
        start=None,
    )


def begin_trial(job: TrialJob, candidate: Candidate = CANDIDATE) -> TrialFit:
    """A trial, which goes on from what the store has of it."""
    return TrialFit(job, candidate, Ranks(torch.device("cpu")))


def list_tensors(trial: TrialFit) -> list[Tensor]:
    """All that it trains: weights, their average, and Adam's moments."""
    state = trial.fit.state
    moments = [entry[key] for entry in state.optimizer.state.values() for key in sorted(entry)]
    return [*state.model.parameters(), *state.averaged.parameters(), *moments]
