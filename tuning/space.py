"""What may vary in a search, in Ray Tune's terms."""

from collections.abc import Mapping
from typing import Any

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
