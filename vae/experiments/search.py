"""The settings of a search: how many candidates, for how long, and what varies among them."""

import math
from dataclasses import dataclass

from vae.experiments.durations import DURATIONS, check_budget
from vae.experiments.fields import check_settings, setting


@dataclass(frozen=True, kw_only=True)
class Range:
    """What one setting may be in a search: one of `choice`, or between `low` and `high`."""

    choice: tuple[int | float | str, ...] = ()
    low: int | float = math.nan
    high: int | float = math.nan
    log: bool = False

    def __post_init__(self) -> None:
        bounded = not (math.isnan(self.low) and math.isnan(self.high))
        if bool(self.choice) == bounded or (bounded and not self.low < self.high):
            raise ValueError("takes either choice = [...] or low < high")
        if self.log and not self.low > 0:
            raise ValueError(f"low is {self.low}, a log range must start above 0")

    @property
    def ends(self) -> tuple[int | float | str, ...]:
        """The values that must be valid for all of the range to be valid."""
        return self.choice or (self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How hyper-parameters are searched before training."""

    trials: int = setting("candidates to try; 0: no search, train as written", 0, at_least=0)
    epochs: int = setting("of each trial that is not stopped early", 4, at_least=1)
    grace_epochs: int = setting(
        "epochs before which no trial is stopped", 1, at_least=1, allowed="from 1 to search.epochs"
    )
    time_budget: str = setting(
        "training time of all trials after which no more is begun; empty: none",
        "",
        allowed=f"text, {DURATIONS}",
    )
    space: dict[str, Range] = setting(
        "what varies, by dotted setting",
        dict,
        allowed='"SETTING" = { choice = [...] } or { low = ..., high = ..., log = true }',
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.grace_epochs > self.epochs:
            raise ValueError(
                f"grace_epochs is {self.grace_epochs}, must be from 1 to epochs = {self.epochs}"
            )
        check_budget(self.time_budget)
        if self.trials and not self.space:
            raise ValueError(f"trials is {self.trials}, but space names no setting to search")
