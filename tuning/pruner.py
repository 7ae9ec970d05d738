"""Which trials are stopped early: ASHA, which remembers what it was told before a kill."""

import math
from collections.abc import Sequence
from itertools import accumulate

from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler

from tuning.sampler import METRIC
from vae.experiments.search import SearchConfig
from vae.runs.trials import Trial


def build_pruner(config: SearchConfig, done: Sequence[Trial]) -> ASHAScheduler:
    """The scheduler that stops the hopeless early, as it was after these trials."""
    pruner = ASHAScheduler(
        time_attr="epoch",
        metric=METRIC,
        mode="min",
        max_t=config.epochs,
        grace_period=config.grace_epochs,
        reduction_factor=2,
    )
    for trial in done:
        replayed = TuneTrial("replayed", stub=True)
        pruner.on_trial_add(None, replayed)
        lowest = accumulate((math.inf, *trial.losses), min)
        for epoch, loss in enumerate(lowest):
            if epoch:  # before it, there was no loss
                pruner.on_trial_result(None, replayed, {"epoch": epoch, METRIC: loss})
    return pruner
