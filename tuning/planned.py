"""A search whose candidates are known before the first is tried: it gives out what is missing."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from tuning.design import Candidate
from tuning.proposals import METRIC, Proposal
from vae.runs.trials import Trial


class PlannedSearch(Searcher):  # type: ignore[misc]
    """Proposes given candidates in order, first those that a kill took from their trials."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        proposals: Sequence[Proposal],
        done: Sequence[Trial],
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(metric=METRIC, mode="min")
        ended = {trial.number for trial in done}
        self.waiting = [given.overrides for given in proposals if given.number not in ended]
        self.left = list(candidates)
        for given in proposals:
            if given.overrides in self.left:
                self.left.remove(given.overrides)
        self.begun, self.is_over, self.over = bool(proposals), is_over, False

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next candidate; Tune's mark of the end if there is none, or no more may begin."""
        if not self.waiting and self.begun and self.left:
            self.over = self.is_over()
        queue = self.waiting or ([] if self.over else self.left)
        if not queue:
            return Searcher.FINISHED  # type: ignore[no-any-return]
        self.begun = True
        return dict(queue.pop(0))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing is learnt from how a trial ended."""

    def save(self, checkpoint_path: str) -> None:
        """Leave an empty file: the store is what restores a search."""
        Path(checkpoint_path).touch()
