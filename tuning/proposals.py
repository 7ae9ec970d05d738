"""What a search gives a trial, and by what it compares them."""

from typing import NamedTuple

from vae.experiments.settings import Value

METRIC = "best_loss"  # the lowest validation loss so far, in nats


class Proposal(NamedTuple):
    """What a trial was given, written before it began."""

    number: int
    overrides: dict[str, Value]
