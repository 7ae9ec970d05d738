"""Hyper-parameter search: Ray Tune around the training that the final fit uses.

A trial is a plain function in one process. A finished trial is an object in the store, so a search
that was killed goes on with what is missing, and neither Ray's nor Optuna's state is needed.
"""

import dataclasses
import json
import math
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import optuna
import ray
import torch
from numpy.typing import NDArray
from ray import cloudpickle, tune
from ray.exceptions import RayTaskError
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from tuning.results import Trial
from tuning.space import domains
from vae.cluster.session import Resources, interruptible
from vae.data.datasets import DatasetRef, load
from vae.errors import brief
from vae.experiments.loading import Experiment, from_dict, with_overrides
from vae.runs.run import Result, Run, create_json, read_json
from vae.training.cpu import set_up_cpu
from vae.training.fit import Fit, Row

METRIC = "best_loss"
Images = NDArray[Any]
OnEpoch = Callable[[int, dict[str, Any], Row], None]  # trial number, what varied, metrics


def search(run: Run, dataset: DatasetRef, resources: Resources, on_epoch: OnEpoch) -> list[Trial]:
    """Run the trials that the store does not have yet; all trials, in order.

    Blocks, and calls `on_epoch` in this process after every epoch of every trial. Raises
    RuntimeError if the processes of some were lost: to search again is to run those again.
    """
    config, prefix = run.experiment.search, f"{run.prefix}/search"
    done = recorded(run, prefix)
    if len(done) < config.trials:
        recorder = Recorder(run, prefix, done, on_epoch)
        run_trials(run, dataset, resources, done, recorder)
        done = recorded(run, prefix)
    if len(done) < config.trials:  # there are more where two searches for the same run met
        lost = config.trials - len(done)
        raise RuntimeError(f"{lost} of {config.trials} trials were lost with their processes")
    return done


def recorded(run: Run, prefix: str) -> list[Trial]:
    """The trials that have ended, by number."""
    contents = [read_json(run.store, key) for key in run.store.list(prefix)]
    return sorted((as_trial(c) for c in contents if c), key=lambda trial: trial.number)


def as_trial(content: Result) -> Trial:
    """A trial from its JSON object."""
    return Trial(**content | {"spans": [(began, ended) for began, ended in content["spans"]]})


def proposer(experiment: Experiment, done: list[Trial]) -> OptunaSearch:
    """Optuna's TPE, told of the trials that are done."""
    known = [trial for trial in done if trial.finished]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return OptunaSearch(
        domains(experiment.search.space),
        metric=METRIC,
        mode="min",
        seed=experiment.seed + len(done),
        points_to_evaluate=[trial.overrides for trial in known] or None,
        evaluated_rewards=[trial.loss for trial in known] or None,
    )


def run_trials(
    run: Run, dataset: DatasetRef, resources: Resources, done: list[Trial], recorder: "Recorder"
) -> None:
    """Run the trials that are missing; TPE proposes them, ASHA stops the hopeless early."""
    config, experiment = run.experiment.search, run.experiment
    train, val = (load(dataset, run.store, split).images for split in ("train", "val"))
    device = {"CPU": 0.01, "GPU": 1} if resources.use_gpu else {"CPU": 1}
    with tempfile.TemporaryDirectory(prefix="vae-search-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(trial, settings=experiment.to_dict(), train=train, val=val),
                device,
            ),
            tune_config=tune.TuneConfig(
                num_samples=config.trials - len(done),
                search_alg=proposer(experiment, done),
                scheduler=ASHAScheduler(
                    time_attr="epoch",
                    metric=METRIC,
                    mode="min",
                    max_t=config.epochs,
                    grace_period=config.grace_epochs,
                    reduction_factor=2,
                ),
                max_concurrent_trials=resources.slots,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=run.run_id, storage_path=scratch, verbose=0, callbacks=[recorder]
            ),
        )
        interruptible(tuner.fit)


def trial(
    overrides: dict[str, Any], *, settings: dict[str, Any], train: Images, val: Images
) -> None:
    """Train one candidate for the search's epochs, reporting its lowest validation loss (nats)."""
    set_up_cpu()
    epochs = settings["search"]["epochs"]
    changed = with_overrides(settings, overrides | {"train.epochs": epochs})
    # Copied, because torch takes no read-only array; Ray's object store holds the one original.
    images, held_out = torch.from_numpy(train.copy()), torch.from_numpy(val.copy())
    device = torch.device("cuda" if ray.get_gpu_ids() else "cpu")
    fit, best = Fit(from_dict(changed), images, held_out, device), math.inf
    for _ in range(epochs):
        row, _ = fit.epoch(fit.state.model, on_step=lambda step: None)
        best = min(best, row["val/loss"])
        tune.report({**row, METRIC: best})


class Recorder(tune.Callback):
    """Writes each trial to the store when it ends, and tells of every epoch. Runs in the driver."""

    def __init__(self, run: Run, prefix: str, done: list[Trial], on_epoch: OnEpoch) -> None:
        self.run, self.prefix, self.on_epoch = run, prefix, on_epoch
        self.numbers: dict[str, int] = {}
        taken = {trial.number for trial in done}
        self.free = (number for number in count(1) if number not in taken)
        self.rows: dict[str, list[Row]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks to restore them; here the store is what restores a search.
        return {}

    def on_trial_result(
        self,
        iteration: int,
        trials: list[TuneTrial],
        trial: TuneTrial,
        result: dict[str, Any],
        **_: Any,
    ) -> None:
        """Keep the epoch's metrics and pass them on."""
        names = ("epoch", "train/loss", "val/loss", "val/nelbo", "val/rate", "val/distortion")
        row = {name: result[name] for name in (*names, "images_per_s", "began", "ended")}
        self.rows.setdefault(trial.trial_id, []).append(row)
        self.on_epoch(self.number(trial), dict(trial.config), row)

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **_: Any
    ) -> None:
        """The trial ran its epochs, or the scheduler stopped it."""
        self.record(trial, None)

    def on_trial_error(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **_: Any
    ) -> None:
        """What the trial raised is its result; if its process was lost, it has none."""
        if raised := raised_by(trial):
            self.record(trial, brief(raised))

    def number(self, trial: TuneTrial) -> int:
        """The lowest number that is free when the trial is first heard of, over all attempts.

        The recorded ones have gaps: trials run side by side, and a kill takes those under way.
        """
        if trial.trial_id not in self.numbers:
            self.numbers[trial.trial_id] = next(self.free)
        return self.numbers[trial.trial_id]

    def record(self, trial: TuneTrial, error: str | None) -> None:
        """Write the trial once."""
        rows = self.rows.get(trial.trial_id, [])
        ended = Trial(
            number=self.number(trial),
            overrides=dict(trial.config),
            loss=min(filter(math.isfinite, (row["val/loss"] for row in rows)), default=None),
            epochs=len(rows),
            stopped=error is None and len(rows) < self.run.experiment.search.epochs,
            spans=[(row["began"], row["ended"]) for row in rows],
            error=error,
        )
        key = f"{self.prefix}/trial-{ended.number:04d}.json"
        create_json(self.run.store, key, json.loads(json.dumps(dataclasses.asdict(ended))))


def raised_by(trial: TuneTrial) -> BaseException | None:
    """The exception that ended the trial, None if that was the loss of its process, or Tune's own.

    From the driver's own folder, because Tune's getter looks in the storage, where it comes later.
    """
    if not trial.pickled_error_file:
        return None
    error = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    return error.cause if isinstance(error, RayTaskError) else None
