"""What a search proposes, and how it goes on as if it had never been stopped.

What was proposed before is proposed again: Optuna's TPE draws as often as it had, and is told what
came of it; the trials that a kill took begin anew with the settings they had. One trial at a time,
the search is then the one it would have been; several side by side end in another order each time
anyway, which TPE sees after its first ten. The other samplers learn nothing, and plan all trials.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from tuning.design import Candidate, design_candidates
from tuning.planned import PlannedSearch
from tuning.proposals import METRIC, Proposal
from tuning.space import build_finished, build_space, suggest_value
from vae.experiments.search import SearchConfig
from vae.experiments.settings import Experiment, Value
from vae.runs.trials import Trial, is_settled


class ReplayedSearch(OptunaSearch):
    """Optuna's TPE, which first gives out again what was proposed and not tried to its end."""

    config: SearchConfig
    waiting: list[str]  # the replayed trials that have yet to be run
    begun = False  # whether anything was proposed, now or before a kill
    is_over: Callable[[], bool]  # whether nothing new may be proposed
    over = False  # whether that came before all was proposed

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
                    known = build_finished(self._space, proposal.overrides, trial.loss)
                    self._ot_study.add_trial(known)
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

        Tune's mark of the end if no more may begin.
        """
        if not trial_id.startswith("replayed-"):
            if getattr(self, "waiting", None):
                self._ot_trials[trial_id] = self._ot_trials.pop(self.waiting.pop(0))
            elif self.begun and self.is_over():
                self.over = True
                return Searcher.FINISHED  # type: ignore[no-any-return]
        self.begun = True
        if trial_id not in self._ot_trials:
            self._ot_trials[trial_id] = self.ask()
        suggested: dict[str, Any] | None = super().suggest(trial_id)
        return suggested

    def ask(self) -> optuna.Trial:
        """A new trial of the study: what varies in any case, then what does so given that."""
        space = self.config.space
        always = {name: self._space[name] for name in self._space if not space[name].when}
        trial: optuna.Trial = self._ot_study.ask(fixed_distributions=always)
        for name in self._space:
            if space[name].when and self.config.varies(name, trial.params):
                suggest_value(trial, name, self._space[name])
        return trial

    def save(self, checkpoint_path: str) -> None:
        """Leave an empty file: the store is what restores a search."""
        Path(checkpoint_path).touch()


def build_sampler(
    experiment: Experiment,
    proposals: Sequence[Proposal],
    done: Sequence[Trial],
    first: Candidate | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> ReplayedSearch | PlannedSearch:
    """The sampler of a search, as it was after these proposals and trials.

    `first`: what it proposes before anything else; `is_over`: whether nothing new may begin.
    """
    config = experiment.search
    if config.sampler != "tpe":
        planned = design_candidates(config, experiment.seed)
        # On a grid, the first is one of its points, and no point is tried twice.
        drawn = [one for one in planned if one != first] if config.sampler == "grid" else planned
        candidates = [first, *drawn] if first else planned
        return PlannedSearch(candidates[: config.trials], proposals, done, is_over)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = ReplayedSearch(
        build_space(config.space),
        metric=METRIC,
        mode="min",
        seed=experiment.seed,
    )
    if first:
        sampler._ot_study.enqueue_trial(first)
    sampler.config, sampler.is_over = config, is_over
    sampler.replay(proposals, done)
    return sampler


def watch_end(done: Sequence[Trial], patience: int, deadline: float) -> Callable[[], bool]:
    """Whether no more trials may begin, as a question to ask whenever one could.

    `done`: the trials that have ended, a list that grows; `deadline`: by time.monotonic().
    """
    return lambda: time.monotonic() >= deadline or is_settled(done, patience)
