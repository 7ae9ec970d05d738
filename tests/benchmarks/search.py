"""Trials per minute of the search, against a TorchTrainer inside each trial, as Ray documents it.

The same candidates with the same training, in one Ray session, one search after the other; none is
stopped early, because a trainer whose trial is stopped keeps its place in the cluster.
"""

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray import tune
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from tests.benchmarks.table import lines
from tests.support.listeners import Silent
from tuning.design import Candidate, design_candidates
from tuning.planned import PlannedSearch
from tuning.search import search
from vae.cluster.session import Resources, Workers, join_cluster
from vae.data.datasets import DatasetRef, prepare
from vae.data.mapped import open_rows
from vae.experiments.loading import apply_overrides, load_experiment, parse_experiment
from vae.runs.run import Run
from vae.runs.trials import Trial
from vae.store.open import open_store
from vae.training.cpu import set_up_cpu
from vae.training.fit import Fit

SEARCHES = {"tiny": 8, "mnist": 4}  # trials of a shipped experiment's search, as long as they are


def train_worker(config: dict[str, Any]) -> None:
    """One candidate's epochs, in the worker of its trainer; each is reported to Tune."""
    set_up_cpu()
    store = open_store(config["store"])
    ref = DatasetRef.from_json(config["dataset"])
    train, val = (open_rows(ref, store, split) for split in ("train", "val"))
    fit = Fit(parse_experiment(config["experiment"]), train, val, torch.device("cpu"))
    for _ in range(config["epochs"]):
        row, _ = fit.run_epoch(fit.state.model, lambda step: None)
        ray.train.report({"best_loss": row["val/loss"]})


def run_trainer(candidate: Candidate, *, shared: dict[str, Any], folder: str) -> None:
    """A trial as documented: it starts a trainer with a worker of its own, and waits for it."""
    plain = apply_overrides(shared["experiment"], candidate)
    name = f"trial-{tune.get_context().get_trial_id()}"
    TorchTrainer(
        train_worker,
        train_loop_config=shared | {"experiment": plain},
        scaling_config=ScalingConfig(num_workers=1),
        run_config=RunConfig(name=name, storage_path=folder, callbacks=[TuneReportCallback()]),
    ).fit()


def search_nested(run: Run, dataset: DatasetRef, resources: Resources, folder: str) -> int:
    """Search as documented, with as many trainers side by side as there are CPUs; trials done."""
    config = run.experiment.search
    shared = {
        "experiment": run.experiment.to_dict(),
        "dataset": dataset.to_json(),
        "store": run.store.uri,
        "epochs": config.epochs,
    }
    trainable = tune.with_parameters(run_trainer, shared=shared, folder=folder)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"CPU": 0.01}),  # the worker takes the CPU
        tune_config=tune.TuneConfig(
            num_samples=config.trials,
            search_alg=PlannedSearch(design_candidates(config, run.experiment.seed), [], []),
            max_concurrent_trials=resources.slots,
        ),
        run_config=tune.RunConfig(name="nested", storage_path=folder, verbose=0),
    )
    return sum(not result.error for result in tuner.fit())


def measure_gaps_s(trials: Sequence[Trial], slots: int) -> list[float]:
    """Seconds from the end of a trial to the first step of the one that takes its place."""
    begins = sorted(trial.spans[0][0] for trial in trials)
    ends = sorted(trial.spans[-1][1] for trial in trials)
    return [began - ended for began, ended in zip(begins[slots:], ends, strict=False)]


def compare(name: str, resources: Resources, folder: Path) -> list[object]:
    """A row: trials per minute of both, their ratio, and what a further trial costs."""
    experiment = load_experiment(name, {"search.trials": SEARCHES[name]})
    config = replace(experiment.search, sampler="random", pruner="none")
    experiment = replace(experiment, search=config)
    run = Run(
        run_id=name,
        experiment=experiment,
        created=datetime.now(UTC),
        store=open_store(str(folder / "store")),
    )
    dataset = prepare(experiment.data, run.store)
    began = time.perf_counter()
    trials = search(run, dataset, resources, Silent())
    ours = 60 * len(trials) / (time.perf_counter() - began)
    began = time.perf_counter()
    done = search_nested(run, dataset, resources, str(folder / "nested" / name))
    theirs = 60 * done / (time.perf_counter() - began)
    gap_s = max(measure_gaps_s(trials, resources.slots), default=math.nan)
    computing_s = sum(ended - began for trial in trials for began, ended in trial.spans)
    return [name, len(trials), computing_s / len(trials), ours, theirs, ours / theirs, gap_s]


def main() -> None:
    """Print the table; both begin with processes that Ray has yet to start."""
    columns = ["search", "trials", "s of training each", "trials/min", "documented", "ratio"]
    with (
        tempfile.TemporaryDirectory(prefix="vae-bench-") as folder,
        join_cluster(Workers(1, 1)) as joining,
    ):
        resources = joining.result()
        rows = [compare(name, resources, Path(folder)) for name in SEARCHES]
    print(lines([*columns, "longest start of a further trial, s"], rows))


if __name__ == "__main__":
    main()
