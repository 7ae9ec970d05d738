"""What a search proposes: Optuna's TPE, which goes on as if it had never been stopped.

What was proposed before is proposed again: the sampler draws as often as it had, and is told what
came of it; the trials that a kill took begin anew with the settings they had. One trial at a time,
the search is then the one it would have been; several side by side end in another order each time
anyway, which TPE sees after its first ten.
"""

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import optuna
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from tuning.space import build_space
from vae.experiments.settings import Experiment, Value
from vae.runs.trials import Trial

METRIC = "best_loss"  # the lowest validation loss so far, in nats


class Proposal(NamedTuple):
    """What a trial was given, written before it began."""

    number: int
    overrides: dict[str, Value]


class ReplayedSearch(OptunaSearch):
    """Optuna's TPE, which first gives out again what was proposed and not tried to its end."""

    waiting: list[str]  # the replayed trials that have yet to be run
    begun = False  # whether anything was proposed, now or before a kill
    deadline = math.inf  # by time.monotonic(): nothing new is proposed after it
    over = False  # whether it has come before all was proposed

    def replay(self, proposals: Sequence[Proposal], done: Sequence[Trial]) -> None:
        """Propose what was proposed, in its order, and tell what came of it."""
        self.waiting, ended = [], {trial.number: trial for trial in done}
        left = sorted(proposals)
        for count in range(len(proposals)):
            name = f"replayed-{count}"
            suggested = self.suggest(name)
            # Trials side by side may have begun in another order than they were proposed in.
            same = [given for given in left if given.overrides == suggested]
            proposal = same[0] if same else left[0]
            left.remove(proposal)
            trial = ended.get(proposal.number)
            if not same:  # of trials side by side, others had ended when it was proposed
                self.on_trial_complete(name, error=True)
                if trial is None:
                    self.enqueue(proposal.overrides, name)
                elif trial.finished and trial.loss is not None:
                    self.add_evaluated_point(proposal.overrides, trial.loss)
            elif trial is None:
                self.waiting.append(name)
            else:
                result = {METRIC: trial.loss} if trial.finished else None
                self.on_trial_complete(name, result, error=not trial.finished)

    def enqueue(self, overrides: dict[str, Value], name: str) -> None:
        """Have the study propose these settings next, as `name` has not."""
        self._ot_study.enqueue_trial(overrides)
        self._ot_trials.pop(name)
        self._completed_trials.discard(name)
        self.suggest(name)
        self.waiting.append(name)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The settings of the next trial: those of one that a kill took, or new ones.

        Tune's mark of the end if the deadline is over.
        """
        if not trial_id.startswith("replayed-"):
            if getattr(self, "waiting", None):
                self._ot_trials[trial_id] = self._ot_trials.pop(self.waiting.pop(0))
            elif self.begun and time.monotonic() >= self.deadline:
                self.over = True
                return Searcher.FINISHED  # type: ignore[no-any-return]
        self.begun = True
        suggested: dict[str, Any] | None = super().suggest(trial_id)
        return suggested


def build_sampler(
    experiment: Experiment, proposals: Sequence[Proposal], done: Sequence[Trial]
) -> ReplayedSearch:
    """The sampler of a search, as it was after these proposals and trials."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = ReplayedSearch(
        build_space(experiment.search.space), metric=METRIC, mode="min", seed=experiment.seed
    )
    sampler.replay(proposals, done)
    return sampler
