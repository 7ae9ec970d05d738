"""Durations, as people write and read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.refusals import catch_refusal
from vae.experiments.durations import UNITS_S, format_age, parse_duration
from vae.experiments.loading import load_experiment


@given(st.integers(1, 99_999), st.sampled_from(sorted(UNITS_S)))
def test_durations_are_a_number_and_a_unit(number: int, unit: str) -> None:
    """Seconds to weeks, with or without leading zeros."""
    assert parse_duration(f"{number}{unit}") == number * UNITS_S[unit]


def test_the_units_are_what_they_are_called() -> None:
    """A day has 24 hours, a week seven days."""
    assert parse_duration("90s") == 90
    assert parse_duration("30m") == 30 * 60
    assert parse_duration("12h") == 12 * 3600
    assert parse_duration("30d") == 30 * 24 * 3600
    assert parse_duration("2w") == 14 * 24 * 3600


@given(st.text(st.sampled_from("0123456789hdwms. -+٣é\n"), max_size=8))
def test_nothing_else_is_a_duration(text: str) -> None:
    """Whatever is accepted is digits and one unit, and is not zero."""
    seconds = parse_duration(text)
    well_formed = text[:-1].isascii() and text[:-1].isdigit() and text[-1:] in UNITS_S
    accepted = well_formed and len(text) <= 6 and int(text[:-1]) > 0
    assert (seconds is not None) == accepted


@pytest.mark.parametrize("setting", ["time_budget", "search.time_budget"])
def test_a_wrong_budget_is_one_line(setting: str) -> None:
    """What, what was given and what is allowed; nothing at all is no budget."""
    message = catch_refusal(load_experiment, "tiny", {setting: "2 hours"})
    assert "time_budget is '2 hours', must be a whole number and s, m, h, d or w" in message
    assert load_experiment("tiny", {setting: ""}).to_dict() == load_experiment("tiny").to_dict()


def test_an_age_has_one_unit() -> None:
    """Rounded down; what is in the future is now."""
    texts = [format_age(age) for age in (-5, 59, 60, 3599, 3600, 86_399, 86_400, 90 * 86_400)]
    assert texts == ["0 min", "0 min", "1 min", "59 min", "1 h", "23 h", "1 d", "90 d"]
