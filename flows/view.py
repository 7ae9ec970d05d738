"""Who watches a flow run in the process that it runs in; by default, nobody."""

from typing import Any

from vae.runs.trials import Trial


class View:
    """What is told of a run as it goes; each method does nothing here. Any thread may call."""

    def on_stage_start(self, stage: str) -> None:
        """A stage begins its work."""

    def on_stage_end(self, stage: str, seconds: float) -> None:
        """A stage has its result, after so long; 0 if the store had it."""

    def on_figures(self, stage: str, line: str) -> None:
        """A stage has measured something, told in one line."""

    def on_trial_epoch(self, number: int, overrides: dict[str, Any], row: dict[str, float]) -> None:
        """A trial of the search has finished an epoch, with these metrics."""

    def on_trial_end(self, trial: Trial) -> None:
        """A trial of the search has ended."""

    def on_fit_epoch(self, row: dict[str, float]) -> None:
        """The training has finished an epoch, with these metrics."""

    def on_fit_step(self, epoch: int, step: int, steps: int) -> None:
        """The training is at a step of an epoch, both counted from 1."""
