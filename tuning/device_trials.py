"""Trials that one process trains together on one device, with one copy of the dataset."""

import os
from collections.abc import Mapping

import torch

from tuning.design import Candidate
from tuning.told import Told
from tuning.trial import TrialFit, TrialJob, Warnings
from vae.data.placement import place_rows
from vae.training.cpu import set_up_cpu
from vae.training.interleaved import train_interleaved
from vae.training.ranks import Ranks
from vae.training.stacked import Stacks

Outcome = list[Told] | Exception  # of a trial that was asked for; none told: it has ended


class DeviceTrials:
    """The trials at work on a device, by the names that they were given."""

    def __init__(self, job: TrialJob, device: torch.device) -> None:
        self.job, self.ranks = job, Ranks(device)
        self.images = place_rows(job.train, device)
        self.trials: dict[str, TrialFit] = {}
        self.warnings = Warnings().__enter__()  # for as long as the process lives
        self.train = Stacks().train if job.search.sharing == "stacked" else train_interleaved

    def advance(self, asked: Mapping[str, Candidate]) -> dict[str, Outcome]:
        """What each trial tells: at first the epochs that the store has of it, then the next one.

        All that are due are trained together. What one raises ends it, not the others.
        """
        outcomes = {name: self.recall(name, candidate) for name, candidate in asked.items()}
        due = [name for name, outcome in outcomes.items() if outcome is None]
        rows = self.train([self.trials[name].fit for name in due]) if due else []
        for name, row in zip(due, rows, strict=True):
            outcomes[name] = row if isinstance(row, Exception) else self.keep(name, row)
        told = {name: outcome or [] for name, outcome in outcomes.items()}
        self.leave([name for name, outcome in told.items() if not isinstance(outcome, list)])
        return told

    def recall(self, name: str, candidate: Candidate) -> Outcome | None:
        """What a trial tells without training; None if an epoch is due."""
        if name in self.trials:
            return [] if self.trials[name].is_over else None
        try:
            trial = TrialFit(self.job, candidate, self.ranks, self.images)
        except Exception as error:
            return error
        self.trials[name] = trial
        return [Told(row, trial.resumed, self.warnings.take()) for row in trial.history] or None

    def keep(self, name: str, row: dict[str, float]) -> Outcome:
        """Keep an epoch that was trained in the store; what is told of it."""
        trial = self.trials[name]
        try:
            trial.keep(row)
        except Exception as error:
            return error
        return [Told(row, trial.resumed, self.warnings.take())]

    def leave(self, names: list[str]) -> None:
        """Forget trials that have ended, or were stopped."""
        for name in names:
            self.trials.pop(name, None)


class DeviceProcess(DeviceTrials):
    """The same as a Ray actor, on a GPU that Ray has given to the trials' own processes."""

    def __init__(self, job: TrialJob, gpu: str) -> None:
        if gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when CUDA is first used
        set_up_cpu()
        super().__init__(job, torch.device("cuda", 0) if gpu else torch.device("cpu"))
