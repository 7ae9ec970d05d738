"""What the best trials of a search, and the experiment's own settings, came to with other seeds."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from vae.errors import UserError
from vae.experiments.settings import Value

Confirmed = Sequence[Mapping[str, Any]]  # each a `Confirmation` as its run records it


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """What some settings came to with other seeds: losses as of a `Trial`, in nats."""

    number: int  # of the trial that had them; 0: none
    overrides: dict[str, Value]
    losses: list[float | None]  # of each seed, in the same order for all; None: training failed
    errors: list[str]
    own: bool = False  # whether they are the experiment's own

    @property
    def mean(self) -> float:
        """Of the losses, in nats; infinite if training failed with one of the seeds."""
        return statistics.fmean(math.inf if loss is None else loss for loss in self.losses)

    @property
    def spread(self) -> float | None:
        """The losses' standard deviation, in nats; None if training failed with one of them."""
        known = [loss for loss in self.losses if loss is not None]
        return statistics.stdev(known) if len(known) == len(self.losses) else None

    @property
    def title(self) -> str:
        """What people call it."""
        return name_candidate(dataclasses.asdict(self))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types only, with the mean, None where infinite, and the spread."""
        mean = self.mean if math.isfinite(self.mean) else None
        return dataclasses.asdict(self) | {"mean": mean, "spread": self.spread}


class Gain(NamedTuple):
    """By how much the winner's loss is below that of the experiment's own settings, in nats."""

    mean: float
    spread: float  # standard deviation of what each seed says


def choose_confirmed(confirmations: Sequence[Confirmation]) -> Confirmation:
    """The one with the lowest mean, the first of equals.

    Raises UserError, quoting the first error, if each failed with a seed.
    """
    best = min(confirmations, key=lambda one: (one.mean, one.number))
    if math.isinf(best.mean):
        errors = [error for one in confirmations for error in one.errors]
        why = f": {errors[0]}" if errors else ""
        raise UserError(
            f"none of the {len(confirmations)} best candidates finished with other seeds{why}"
        )
    return best


def sort_confirmed(confirmed: Confirmed) -> list[Mapping[str, Any]]:
    """The lowest mean first, the first of equals first; those without one last."""
    return sorted(confirmed, key=lambda one: (one["mean"] is None, one["mean"], one["number"]))


def find_own(confirmed: Confirmed) -> Mapping[str, Any] | None:
    """What the experiment's own settings came to; None in a record from before they were tried."""
    return next((one for one in confirmed if one.get("own")), None)


def measure_gain(confirmed: Confirmed) -> Gain | None:
    """What the search was worth: the winner beside the experiment's own settings, seed by seed.

    None where that is not known: either failed with a seed. 0 where they are the winner.
    """
    own = find_own(confirmed)
    if own is None or own["mean"] is None:
        return None
    winner = sort_confirmed(confirmed)[0]
    gains = [was - now for was, now in zip(own["losses"], winner["losses"], strict=True)]
    return Gain(statistics.fmean(gains), statistics.stdev(gains))


def name_candidate(one: Mapping[str, Any]) -> str:
    """What people call a candidate: its trial, or that it had none."""
    named = f"trial {one['number']}" if one["number"] else ""
    own = "the experiment's own settings" if one.get("own") else ""
    return f"{named} ({own})" if named and own else named or own
