"""What may vary in a search, in Ray Tune's terms and in Optuna's."""

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from ray import tune

from vae.experiments.search import Range


def build_space(space: Mapping[str, Range]) -> dict[str, Any]:
    """A Tune search space: choices, or ranges that stay whole numbers if both ends are."""
    return {setting: to_domain(values) for setting, values in space.items()}


def to_domain(values: Range) -> Any:
    """The Tune domain of one setting; both ends of a range belong to it."""
    if values.choice:
        return tune.choice(list(values.choice))
    if isinstance(values.low, int) and isinstance(values.high, int):
        # Tune's upper end is exclusive for whole numbers.
        pick = tune.lograndint if values.log else tune.randint
        return pick(values.low, values.high + 1)
    return (tune.loguniform if values.log else tune.uniform)(values.low, values.high)


def suggest_value(trial: optuna.Trial, name: str, values: BaseDistribution) -> None:
    """Have a trial of Optuna's take a value of this distribution for a setting."""
    if isinstance(values, CategoricalDistribution):
        trial.suggest_categorical(name, values.choices)
    elif isinstance(values, IntDistribution):
        trial.suggest_int(name, values.low, values.high, log=values.log)
    elif isinstance(values, FloatDistribution):
        trial.suggest_float(name, values.low, values.high, log=values.log)


def build_finished(
    space: Mapping[str, BaseDistribution], params: Mapping[str, Any], loss: float | None
) -> optuna.trial.FrozenTrial:
    """A trial of Optuna's that has ended, of settings which need not be all of the space's."""
    distributions = {name: space[name] for name in params}
    return optuna.create_trial(value=loss, params=dict(params), distributions=distributions)
