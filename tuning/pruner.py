"""Which trials are stopped early: ASHA, which remembers what it was told before a kill."""

import math
import random
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from tuning.proposals import METRIC
from vae.experiments.search import SearchConfig
from vae.runs.trials import Trial

REDUCTION = 2  # one trial in so many goes on from one rung to the next


class AsyncHyperBand(ASHAScheduler):  # type: ignore[misc]
    """ASHA in brackets, of which each trial's is drawn by the seed and the trials before it."""

    def __init__(self, seed: int, **options: Any) -> None:
        super().__init__(**options)
        self.generator = random.Random(seed)

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Draw as Ray does, the more rungs the likelier, but not from NumPy's shared state."""
        weights = [math.exp(len(bracket._rungs)) for bracket in self._brackets]
        [bracket] = self.generator.choices(self._brackets, weights)
        self._trial_info[trial.trial_id] = bracket


def build_pruner(config: SearchConfig, seed: int, done: Sequence[Trial]) -> TrialScheduler:
    """The scheduler that stops the hopeless early, as it was after these trials."""
    if config.pruner == "none":
        return FIFOScheduler()
    options: dict[str, Any] = {
        "time_attr": "epoch",
        "metric": METRIC,
        "mode": "min",
        "max_t": config.epochs,
        "grace_period": config.grace_epochs,
        "reduction_factor": REDUCTION,
    }
    if config.pruner == "hyperband":
        brackets = int(math.log(config.epochs / config.grace_epochs, REDUCTION)) + 1
        pruner: ASHAScheduler = AsyncHyperBand(seed, brackets=brackets, **options)
    else:
        pruner = ASHAScheduler(**options)
    for trial in done:
        replay(pruner, trial)
    return pruner


def replay(pruner: ASHAScheduler, trial: Trial) -> None:
    """Tell a scheduler of a trial what it was told while that was at work."""
    replayed = TuneTrial("replayed", stub=True)
    pruner.on_trial_add(None, replayed)
    for epoch, loss in enumerate(accumulate((math.inf, *trial.losses), min)):
        if epoch:  # before it, there was no loss
            pruner.on_trial_result(None, replayed, {"epoch": epoch, METRIC: loss})
