"""Charts: what lies where, and what each mark says."""

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.findings import make_trials
from vae.publishing.report import charts
from vae.publishing.report.trials import LOSS, draw_trials
from vae.runs.trials import Trial

HISTORY = [
    {"epoch": epoch, "train/loss": 150 / epoch, "val/loss": 140 / epoch, "val/rate": 20.0 + epoch}
    for epoch in range(1, 6)
]
numbers = st.floats(-1e12, 1e12).map(lambda x: round(x, 3))


@given(numbers, numbers, st.integers(2, 10))
@example(501.0, 400000000902.0, 2)  # no multiple of 5e11 is between them
@example(-999999999501.0, -999999999502.0, 5)  # steps of which a float of that size has two digits
def test_ticks_are_round_inside_and_few(one: float, other: float, at_most: int) -> None:
    """At least one of them, in order, evenly spaced, none outside."""
    low, high = min(one, other), max(one, other)
    ticks = charts.choose_ticks(low, high, at_most)
    assert 1 <= len(ticks) <= max(1, at_most)
    slack = 1e-6 * max(1.0, high - low)
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    steps = [b - a for a, b in pairwise(ticks)]
    exact = 1e-6 * max(steps, default=0.0) + 4 * math.ulp(max(abs(low), abs(high)))
    assert all(abs(step - steps[0]) <= exact and step > 0 for step in steps)


@given(st.floats(0, 1))
def test_a_scale_is_linear(share: float) -> None:
    """Its ends lie at its ends."""
    scale = charts.Scale(-5.0, 15.0, 200, 100)
    assert scale.place(-5 + 20 * share) == pytest.approx(200 - 100 * share, abs=0.051)


def test_panels_have_both_losses_and_every_other_metric_once() -> None:
    """What any epoch has is drawn, and how fast it went."""
    history = [*HISTORY, {"epoch": 6, "val/new_metric": 1.0, "images_per_s": 9.0}]
    drawn = charts.draw_training(history)
    assert [chart.title for chart in drawn] == [
        "loss (nats per image)",
        "rate",
        "new metric",
        "images per second",
    ]
    assert [line.name for line in drawn[0].lines] == ["val/loss", "train/loss"]
    assert drawn[1].lines[0].texts[-1] == "epoch 5, val/rate: 25"


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_was_not_measured_takes_only_its_point(value: float | None) -> None:
    """The line goes on beside it, and the axis is of what is finite."""
    history = [row | {"val/loss": value} if row["epoch"] == 3 else row for row in HISTORY]
    line = charts.draw_training(history)[0].lines[0]
    assert [text.partition(",")[0] for text in line.texts] == [f"epoch {i}" for i in (1, 2, 4, 5)]
    assert all(math.isfinite(x) and math.isfinite(y) for x, y in line.points)


def test_every_mark_lies_on_the_picture() -> None:
    """Of one epoch as of many, and of bars that are not finite."""
    for history in (HISTORY[:1], HISTORY):
        for chart in charts.draw_training(history):
            for x, y in (point for line in chart.lines for point in line.points):
                assert 0 <= x <= chart.width and 0 <= y <= chart.height
    bars = charts.draw_bars("t", "x", [("a", math.inf, "blue"), ("b", 1.0, "blue")]).bars
    assert all(0 <= bar.y <= charts.HEIGHT and bar.height >= 0 for bar in bars)


def test_axes_are_as_far_apart_as_their_names_are_long() -> None:
    """Also beside a setting with a long one."""
    searched = {"train.checkpoint_minutes": 5, "train.warmup_of_the_kl": 3}
    names = draw_trials(make_trials(overrides=searched))[0].names
    for (left, _, name), (right, _, other) in pairwise(names):
        assert right - left >= 7 * (len(name) + len(other)) / 2


def test_a_trial_is_a_line_across_all_that_varied() -> None:
    """Through an axis for each setting and the loss; one without a loss ends before it."""
    parallel, losses = draw_trials(make_trials())
    assert [name for *_, name in parallel.names] == ["latent dim", "learning rate", LOSS]
    assert [len(line.points) for line in parallel.lines] == [3, 3, 2]
    assert [line.style for line in parallel.lines] == ["grey", "orange", "red"]
    assert "trial 1: model.latent_dim 20, train.learning_rate 0.00123; 110.00" in str(
        parallel.lines[0].texts
    )
    assert [len(line.points) for line in losses.lines] == [2, 3, 0]
    assert set(losses.legend.values()) == {"stopped early", "best", "finished", "failed"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1e-4, 1e-3, 1e-2], [1.0, 0.5, 0.0]),  # by powers of ten
        ([10, 20, 30], [1.0, 0.5, 0.0]),
        (["silu", "relu", "tanh"], [0.5, 1.0, 0.0]),  # by name
        ([True, False, True], [0.0, 1.0, 0.0]),
        ([[400], [200, 200], [400]], [0.0, 1.0, 0.0]),
    ],
)
def test_settings_of_any_kind_have_an_axis(values: list[Any], expected: list[float]) -> None:
    """Numbers by size, on a logarithmic scale if they differ tenfold; others by rank."""
    trials = [
        Trial(number=i, overrides={"a.b": value}, loss=1.0, epochs=1, stopped=False, spans=[])
        for i, value in enumerate(values, 1)
    ]
    heights = [line.points[0][1] for line in draw_trials(trials)[0].lines]
    low, high = min(heights), max(heights)
    assert [(y - low) / (high - low) for y in heights] == pytest.approx(expected, abs=0.01)
