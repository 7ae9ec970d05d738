"""What the live view knows of a run: what it was told, and no more.

Times are of one clock, the caller's, of which only differences count.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from vae.runs.trials import Trial


@dataclass
class StageState:
    """A stage; both times are None while it waits, `seconds` is 0 if the store had its result."""

    name: str
    began: float | None = None
    seconds: float | None = None


@dataclass
class TrialState:
    """A trial of the search; `loss`: the lowest of its epochs, in nats, infinite without one."""

    number: int
    overrides: dict[str, Any]
    epochs: int = 0
    loss: float = math.inf
    outcome: str = "running"

    def tell_epoch(self, row: dict[str, float]) -> None:
        """Take in the metrics of an epoch."""
        self.epochs = int(row["epoch"])
        if row["val/loss"] < self.loss:  # NaN is not
            self.loss = row["val/loss"]

    def tell_end(self, trial: Trial) -> None:
        """Take in how it ended."""
        self.epochs, self.outcome = trial.epochs, trial.outcome
        if trial.loss is not None and math.isfinite(trial.loss):
            self.loss = trial.loss


@dataclass
class FitState:
    """The final training: the epochs done, with a fraction, and the metrics of the last whole one.

    An epoch takes as long as the last one did, or as the first one's steps so far let expect.
    """

    epochs: int
    done: float = 0.0
    told: float = 0.0  # when `done` was
    row: dict[str, float] = field(default_factory=dict)
    row_told: float | None = None
    epoch_s: float | None = None
    first: tuple[float, float] | None = None  # when the first step was told, and `done` then

    def tell_step(self, epoch: int, step: int, steps: int, now: float) -> None:
        """Take in how far the epoch is."""
        before, self.done, self.told = self.done, epoch - 1 + step / steps, now
        if self.first is None or self.done <= before:  # workers that were lost start again
            self.first = (now, self.done)
        elif self.row_told is None:
            self.epoch_s = (now - self.first[0]) / (self.done - self.first[1])

    def tell_epoch(self, row: dict[str, float], now: float) -> None:
        """Take in an epoch; it lasts from the one before it, as a checkpoint is part of it."""
        before, self.row_told = self.row_told, now
        self.epoch_s = row["ended"] - row["began"] if before is None else now - before
        self.row = row
        self.done, self.told = row["epoch"], now

    def estimate_left_s(self, now: float) -> float | None:
        """How long the epochs that are left will take; None before anyone can know."""
        if self.epoch_s is None:
            return None
        return max(0.0, (self.epochs - self.done) * self.epoch_s - (now - self.told))


@dataclass
class RunState:
    """All of it. `over_s` is None until the run has ended, well or not: then how long it took."""

    stages: dict[str, StageState]
    trial_count: int
    trial_epochs: int
    fit: FitState
    trials: dict[int, TrialState] = field(default_factory=dict)  # by number, the last told last
    over_s: float | None = None

    def tell_start(self, stage: str, now: float) -> None:
        """Take in that a stage begins, again if it has failed; what was under way is lost."""
        self.stages[stage].began = now
        if stage == "search":
            ended = {n: trial for n, trial in self.trials.items() if trial.outcome != "running"}
            self.trials = ended
        elif stage == "train":
            self.fit = FitState(self.fit.epochs)

    def reach_trial(self, number: int, overrides: dict[str, Any]) -> TrialState:
        """The trial of that number, now the last told."""
        trial = self.trials.pop(number, None) or TrialState(number, overrides)
        self.trials[number] = trial
        return trial

    def find_running(self) -> StageState | None:
        """The stage at work; once the run has ended, the one that it ended in."""
        stages = self.stages.values()
        return next((s for s in stages if s.began is not None and s.seconds is None), None)

    def find_best_trial(self) -> TrialState | None:
        """The trial with the lowest loss so far of those that have not failed."""
        judged = [t for t in self.trials.values() if t.outcome != "failed" and t.loss < math.inf]
        return min(judged, key=lambda trial: (trial.loss, trial.number), default=None)
