"""The trials of a search as plain data, and which of them won."""

from collections.abc import Sequence
from dataclasses import dataclass

from vae.errors import UserError
from vae.experiments.loading import Value
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

    @property
    def finished(self) -> bool:
        """Whether its loss says what training with its settings would reach: it ended well."""
        return self.error is None and self.loss is not None


def best_trial(trials: Sequence[Trial]) -> Trial:
    """The trial with the lowest bound of those that finished, the first of equals.

    Raises UserError, quoting the first error, if none did.
    """
    finished = [trial for trial in trials if trial.finished]
    if not finished:
        errors = [trial.error for trial in trials if trial.error]
        why = f": {errors[0]}" if errors else ""
        raise UserError(f"none of the {len(trials)} trials of the search finished{why}")
    return min(finished, key=lambda trial: (trial.loss, trial.number))
