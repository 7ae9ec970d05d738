"""The trials of a search as plain data, and which of them is the best."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vae.errors import UserError
from vae.experiments.settings import Value
from vae.runs.timing import Span


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial: what varied, and the lowest validation loss (nats, beta = 1) of any epoch."""

    number: int
    overrides: dict[str, Value]
    loss: float | None  # None if no epoch had a finite one
    epochs: int
    stopped: bool  # early, by the scheduler
    spans: list[Span]
    error: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)  # of the epoch with that loss
    losses: list[float] = field(default_factory=list)  # of every epoch, nats

    @property
    def finished(self) -> bool:
        """Whether its loss says what training with its settings would reach: it ended well."""
        return self.error is None and self.loss is not None and math.isfinite(self.loss)

    @property
    def outcome(self) -> str:
        """How it ended, in words."""
        return "failed" if self.error else "stopped early" if self.stopped else "finished"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types only; `from_dict` is the inverse."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Trial":
        """Undo `to_dict`."""
        return cls(**plain | {"spans": [(began, ended) for began, ended in plain["spans"]]})


def sort_trials(trials: Sequence[Trial]) -> list[Trial]:
    """The trials in order of their loss, the first of equals first; those without one last."""

    def rank(trial: Trial) -> tuple[bool, float, int]:
        loss = trial.loss if trial.loss is not None else math.inf
        return not trial.finished, math.inf if math.isnan(loss) else loss, trial.number

    return sorted(trials, key=rank)


def find_best(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the lowest loss of those that finished, the first of equals; None if none."""
    return next((trial for trial in sort_trials(trials) if trial.finished), None)


def find_distinct(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that finished, best first; of those with the same settings the first."""
    distinct: list[Trial] = []
    for trial in sort_trials(trials):
        if trial.finished and all(trial.overrides != other.overrides for other in distinct):
            distinct.append(trial)
    return distinct


def is_settled(trials: Sequence[Trial], patience: int) -> bool:
    """Whether so many trials after the best have ended without a better one; never for 0."""
    best = find_best(trials)
    if best is None or not patience:
        return False
    return sum(trial.number > best.number for trial in trials) >= patience


def choose_best(trials: Sequence[Trial]) -> Trial:
    """`find_best`; raises UserError, quoting the first error, if no trial finished."""
    best = find_best(trials)
    if best is None:
        errors = [trial.error for trial in trials if trial.error]
        why = f": {errors[0]}" if errors else ""
        raise UserError(f"none of the {len(trials)} trials of the search finished{why}")
    return best


def format_overrides(overrides: Mapping[str, Any]) -> str:
    """What varied, in a few characters: 'latent_dim 20, learning_rate 0.0012'."""
    return ", ".join(
        f"{name.rpartition('.')[2]} {value:.3g}"
        if isinstance(value, float)
        else f"{name.rpartition('.')[2]} {value}"
        for name, value in overrides.items()
    )


def format_loss(row: Mapping[str, float]) -> str:
    """An epoch's validation loss with its unit: bits per dimension of 256 levels, else nats."""
    bits = row.get("val/bits_per_dim")
    return f"{row['val/loss']:.2f} nats" if bits is None else f"{bits:.4f} bits/dim"
