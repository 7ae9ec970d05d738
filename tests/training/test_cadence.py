"""When training is saved within an epoch: on time, by agreement of all ranks, at little cost."""

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vae.training.cadence import LOOK_S, Cadence


@dataclass
class Ranks:
    """Two ranks in one process: what rank 0 puts into a sum, rank 1 gets; and a clock."""

    interval_s: float
    now: float = 0.0
    said: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.first = Cadence(self.interval_s, 0, self.put, lambda: self.now)
        self.second = Cadence(self.interval_s, 1, lambda zeros: zeros + self.said[-1], lambda: -1)

    def put(self, x: Tensor) -> Tensor:
        self.said.append(x)
        return x

    def train(self, seconds: list[float]) -> list[float]:
        """When they save, in steps that take so long each."""
        saved = []
        for step_s in seconds:
            self.now += step_s
            due = self.first.is_due()
            assert self.second.is_due() == due
            if due:
                saved.append(self.now)
        return saved


@given(st.floats(0.001, 30), st.floats(1, 2000))
def test_steady_steps_are_saved_on_time(step_s: float, interval_s: float) -> None:
    """Never early, and late by a step, or two where one takes less than the rounding of many."""
    ranks = Ranks(interval_s)
    steps = min(20_000, 3 * int(interval_s / step_s + 2))
    saved = ranks.train([step_s] * steps)
    for before, after in zip([0.0, *saved], saved, strict=False):
        assert interval_s <= after - before <= interval_s + 2 * step_s + 1e-6
    assert len(saved) >= int(steps * step_s / (interval_s + 2 * step_s))


@given(st.lists(st.floats(0.01, 20), min_size=1, max_size=300), st.floats(1, 60))
def test_ranks_agree_whatever_the_steps_take(seconds: list[float], interval_s: float) -> None:
    """Rank 1, whose clock stands still, saves at the same steps; never before it is time."""
    saved = Ranks(interval_s).train(seconds)
    assert all(b - a >= interval_s - 1e-6 for a, b in zip([0.0, *saved], saved, strict=False))


def test_an_hour_of_short_steps_is_looked_at_seldom() -> None:
    """The ranks wait for each other some once a second, not at each of 360,000 steps."""
    ranks = Ranks(600.0)
    saved = ranks.train([0.01] * 360_000)
    assert len(saved) == 5
    assert len(ranks.said) < 1.1 * 3600 / LOOK_S + 50


@pytest.mark.parametrize("slow", [1.0, 5.0, 100.0])
def test_steps_that_become_slower_are_not_long_overdue(slow: float) -> None:
    """What was reckoned from quick steps is at most LOOK_S of them."""
    ranks = Ranks(60.0)
    quick = 0.5
    (saved, *_) = ranks.train([quick] * 100 + [slow] * 100)
    assert saved <= 60 + (LOOK_S / quick) * slow


def test_without_an_interval_it_is_saved_when_asked() -> None:
    """At most a second of steps later, once, and on both ranks."""
    ranks = Ranks(math.inf)
    assert ranks.train([0.1] * 1000) == []
    ranks.first.asked = True
    (saved,) = ranks.train([0.1] * 1000)
    assert saved <= 100 + LOOK_S + 0.2
