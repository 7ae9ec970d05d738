"""The settings of a search: how many candidates, for how long, and what varies among them."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from vae.experiments.durations import DURATIONS, check_budget
from vae.experiments.fields import check_settings, setting


@dataclass(frozen=True, kw_only=True)
class Range:
    """What one setting may be in a search: one of `choice`, or between `low` and `high`.

    It varies where the settings in `when` have one of these values, else it is the experiment's.
    """

    choice: tuple[int | float | str, ...] = ()
    low: int | float = math.nan
    high: int | float = math.nan
    log: bool = False
    when: dict[str, tuple[int | float | str, ...]] = field(default_factory=dict)

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

    @property
    def grid(self) -> Sequence[int | float | str]:
        """Every value of a choice or of a range of whole numbers; none of any other range."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return range(self.low, self.high + 1)
        return self.choice

    @property
    def grid_size(self) -> int:
        """How many values that are."""
        if isinstance(self.grid, range):  # whose len() is of 64 bits
            return self.grid.stop - self.grid.start
        return len(self.grid)

    @property
    def condition(self) -> dict[str, Any]:
        """Values of other settings with which it varies."""
        return {name: values[0] for name, values in self.when.items()}

    def contains(self, value: Any) -> bool:
        """Whether a search may give the setting this value."""
        if self.choice:
            return value in self.choice
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        return isinstance(value, int if whole else int | float) and self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How hyper-parameters are searched before training."""

    trials: int = setting("candidates to try; 0: no search, train as written", 0, at_least=0)
    epochs: int = setting("of each trial that is not stopped early", 4, at_least=1)
    grace_epochs: int = setting(
        "epochs before which no trial is stopped", 1, at_least=1, allowed="from 1 to search.epochs"
    )
    sampler: Literal["tpe", "random", "grid", "sobol"] = setting(
        "how candidates are drawn: tpe learns from those before, sobol spreads them evenly, grid "
        "takes points of the grid in an order of the seed's",
        "tpe",
    )
    pruner: Literal["asha", "hyperband", "none"] = setting(
        "what stops the hopeless early; hyperband is asynchronous: brackets of asha, the later "
        "of which spare trials for longer",
        "asha",
    )
    workers_per_trial: int = setting(
        "processes that train a trial together, each with a device of its own", 1, at_least=1
    )
    trials_per_device: int = setting("trials that share a GPU, or a CPU", 1, at_least=1)
    sharing: Literal["processes", "streams", "stacked"] = setting(
        "how trials share a device: each in a process of its own; in one process, each on a stream "
        "of its own; or in one network, if theirs have the same shape",
        "processes",
    )
    first: Literal["drawn", "best"] = setting(
        "the first candidate: drawn like the others, or the settings of the best version so far",
        "drawn",
    )
    patience: int = setting(
        "trials without a new best after which no more is begun; 0: no limit", 0, at_least=0
    )
    confirm: int = setting(
        "best candidates that are trained again with two other seeds, as are the experiment's own "
        "settings; the lowest mean loss decides; 0: the lowest loss of all trials does",
        0,
        at_least=0,
    )
    time_budget: str = setting(
        "training time of all trials after which no more is begun; empty: none",
        "",
        allowed=f"text, {DURATIONS}",
    )
    space: dict[str, Range] = setting(
        "what varies, by dotted setting",
        dict,
        allowed='"SETTING" = { choice = [...] } or { low = ..., high = ..., log = true }, also '
        'with when = { "OTHER" = [...] }',
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
        if self.workers_per_trial > 1 and self.trials_per_device > 1:
            raise ValueError(
                f"workers_per_trial is {self.workers_per_trial} and trials_per_device "
                f"{self.trials_per_device}: one of them must be 1"
            )
        if self.sharing != "processes" and self.trials_per_device == 1:
            raise ValueError(
                f"sharing is '{self.sharing}', but trials_per_device is 1: must be at least 2"
            )
        if self.confirm and "seed" in self.space:
            raise ValueError(f"confirm is {self.confirm}, but space varies seed: must be 0")
        for name, values in self.space.items():
            self.check_condition(name, values)
        if self.trials and self.sampler == "grid":
            self.check_grid()

    @property
    def grid_size(self) -> int:
        """The points of the space's grid; 0 if a setting has none."""
        return math.prod(values.grid_size for values in self.space.values())

    def drop_unused(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """A point of the space without what does not vary there."""
        return {name: value for name, value in point.items() if self.varies(name, point)}

    def varies(self, name: str, point: Mapping[str, Any]) -> bool:
        """Whether a setting of the space varies, given those that have no condition."""
        return all(point.get(other) in values for other, values in self.space[name].when.items())

    def check_condition(self, name: str, values: Range) -> None:
        """Raise ValueError unless a setting's condition is one that can hold."""
        for other, needed in values.when.items():
            if other not in self.space or self.space[other].when:
                raise ValueError(
                    f"space: {name} varies by {other}, which must vary as well, without a condition"
                )
            never = [value for value in needed if not self.space[other].contains(value)]
            if never or not needed:
                raise ValueError(
                    f"space: {name} varies when {other} is {json.dumps([*needed])}: must be some "
                    f"of what that may be"
                )

    def check_grid(self) -> None:
        """Raise ValueError unless the grid has as many points as there are trials."""
        for name, values in self.space.items():
            if values.when:
                raise ValueError(
                    f"sampler is 'grid', but {name} has a condition: take another sampler"
                )
            if not values.grid:
                raise ValueError(
                    f"sampler is 'grid', but {name} is a range of numbers that are not whole: "
                    "give choice = [...], or another sampler"
                )
        if self.trials > self.grid_size:
            raise ValueError(
                f"trials is {self.trials}, but the grid has {self.grid_size} points: "
                "must be at most that many"
            )
