"""What a search taught: what is drawn of it, and what is said."""

from typing import Any

import pytest

from vae.publishing.report.charts import Chart
from vae.publishing.report.learnt import draw_learnt, shade_trials, tell_winner
from vae.runs.confirmations import Confirmation
from vae.runs.trials import Trial

RATES = (3e-4, 1e-3, 3e-3)
IMPORTANCE = {"train.learning_rate": 0.8, "model.latent_dim": 0.15, "model.activation": 0.05}


def make_trials(count: int) -> list[Trial]:
    """Of which the first failed, and each of the others is better than the one before."""
    return [
        Trial(
            number=number,
            overrides={
                "train.learning_rate": RATES[number % 3],
                "model.latent_dim": 10 * number,
                "model.activation": ("relu", "silu")[number % 2],
            },
            loss=None if number == 1 else 120.0 - number,
            epochs=2,
            stopped=False,
            spans=[],
            error="no memory" if number == 1 else None,
        )
        for number in range(1, count + 1)
    ]


def confirm(number: int, *losses: float | None, own: bool = False) -> dict[str, Any]:
    """As the search records it."""
    return Confirmation(
        number=number, overrides={}, losses=list(losses), errors=[], own=own
    ).to_dict()


def list_places(chart: Chart) -> list[tuple[float, float]]:
    """Where the marks of a chart begin and end."""
    ends = [(bar.x + bar.width, bar.y + bar.height) for bar in chart.bars]
    starts = [(bar.x, bar.y) for bar in chart.bars]
    return [*starts, *ends, *((dot.x, dot.y) for dot in chart.dots)]


@pytest.mark.parametrize("count", [2, 12])
def test_every_mark_lies_on_the_picture(count: int) -> None:
    """Of one trial that finished, with one loss, as of many."""
    confirmed = [confirm(2, 118.0, 118.0), *([confirm(3, 117.0, None)] if count > 2 else [])]
    charts = draw_learnt(make_trials(count), IMPORTANCE, confirmed)
    assert len(charts) == 3
    for chart in charts:
        places = list_places(chart)
        assert places
        assert all(0 <= x <= chart.width and 0 <= y <= chart.height for x, y in places)
        assert all(0 < y < chart.height for _, y, _ in chart.names)


def test_bars_are_as_long_as_settings_mattered() -> None:
    """The largest share first, each named and said."""
    chart = draw_learnt(make_trials(9), IMPORTANCE, [])[0]
    longest = chart.bars[0].width
    assert [bar.width / longest for bar in chart.bars] == pytest.approx(
        [share / 0.8 for share in IMPORTANCE.values()], abs=0.01
    )
    assert [tick.text for tick in chart.y_ticks] == ["learning rate", "latent dim", "activation"]
    assert chart.bars[1].text == "model.latent_dim: 15%"


def test_two_settings_are_set_against_each_other() -> None:
    """The two that mattered most; of those that nothing is known of, the only two."""
    trials = make_trials(9)
    titles = [chart.title for chart in draw_learnt(trials, IMPORTANCE, [])]
    assert "learning rate across, latent dim up" in titles[1]
    assert draw_learnt(trials, {}, []) == []
    two = [
        Trial.from_dict(one.to_dict() | {"overrides": dict(list(one.overrides.items())[1:])})
        for one in trials
    ]
    (chart,) = draw_learnt(two, {}, [])
    assert "latent dim across, activation up" in chart.title
    assert [dot.text.partition(":")[0] for dot in chart.dots][-1] == "trial 9"
    assert chart.dots[-1].style == "s0 best"  # on top of the others
    assert max(dot.x for dot in chart.dots) == chart.dots[-1].x  # the most latents
    assert draw_learnt(make_trials(1), IMPORTANCE, [])[1:] == []


def test_shades_follow_the_order_of_losses() -> None:
    """A fifth of the trials to each; none for a trial without a loss, a ring for the best."""
    shades = shade_trials(make_trials(11))
    assert [shades[number] for number in range(11, 0, -1)] == [
        *("s0 best", "s0", "s1", "s1", "s2", "s2", "s3", "s3", "s4", "s4", "none")
    ]


def test_candidates_are_drawn_with_how_sure_they_are() -> None:
    """The lowest mean is the first row; a band reaches a standard deviation to both sides."""
    confirmed = [confirm(3, 118.0, 120.0), confirm(4, 117.0, None), confirm(2, 116.0, 117.0)]
    chart = draw_learnt(make_trials(4), {}, confirmed)[0]
    assert [tick.text for tick in chart.y_ticks] == ["trial 2", "trial 3", "trial 4"]
    bands = [bar for bar in chart.bars if bar.style.endswith("band")]
    assert [bar.style for bar in bands] == ["orange band", "blue band"]
    assert bands[1].width / bands[0].width == pytest.approx(2, abs=0.02)
    assert "mean 116.50 nats, standard deviation 0.71 of 2 seeds" in bands[0].text
    seeds = [dot.x for dot in chart.dots if "another seed" in dot.text]
    chosen = [dot.x for dot in chart.dots if "as chosen" in dot.text]
    assert (len(seeds), len(chosen)) == (5, 3)
    assert seeds[0] < seeds[1] < chosen[0]  # 116, 117, 118 nats
    own = draw_learnt(
        make_trials(4), {}, [confirm(2, 116.0, 117.0), confirm(0, 118.0, 119.0, own=True)]
    )[0]
    assert [tick.text for tick in own.y_ticks] == ["trial 2", "own settings"]


def test_the_winner_is_set_against_the_experiments_own_settings() -> None:
    """Seed by seed; nothing is said where nobody won."""
    winner = confirm(5, 100.0, 102.0)
    told = tell_winner([confirm(0, 103.0, 106.0, own=True), winner])
    assert told == (
        "With other seeds trial 5 won: mean 101.00 nats, standard deviation 1.41 of 2 seeds. "
        "Seed by seed that is 3.50 nats less than the experiment's own settings, standard "
        "deviation 0.71; they came to mean 104.50 nats, standard deviation 2.12 of 2 seeds."
    )
    assert tell_winner([winner, confirm(0, 103.0, None, own=True)]).endswith("of 2 seeds.")
    assert tell_winner([confirm(1, 99.0, 99.0, own=True), winner]).startswith(
        "With other seeds trial 1 (the experiment's own settings) won: mean 99.00 nats"
    )
    assert tell_winner([]) == tell_winner([confirm(1, None, 99.0)]) == ""
