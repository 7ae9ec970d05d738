"""What a trial tells after an epoch, and how Tune hears of it."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from ray import tune

from tuning.proposals import METRIC

Warned = tuple[str, str]  # the logger's name and the message


class Told(NamedTuple):
    """What a trial tells after an epoch."""

    row: dict[str, float]
    resumed: int  # epochs that the store had when it began
    warnings: list[Warned]


def report(epochs: Iterable[Told]) -> None:
    """Report every epoch's metrics to Tune.

    With them goes the lowest validation loss so far, in nats, by which trials are compared.
    """
    best = math.inf
    for told in epochs:
        best = min(best, told.row["val/loss"])
        tune.report({**told._asdict(), "epoch": told.row["epoch"], METRIC: best})
