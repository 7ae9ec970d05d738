"""Durations and sizes, as people write and read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.refusals import catch_refusal
from vae.upkeep.sweep import make_policy
from vae.upkeep.units import UNITS_S, format_age, format_bytes, parse_duration


@given(st.integers(1, 99_999), st.sampled_from(sorted(UNITS_S)))
def test_durations_are_a_number_and_a_unit(number: int, unit: str) -> None:
    """Hours, days and weeks, with or without leading zeros."""
    assert parse_duration(f"{number}{unit}") == number * UNITS_S[unit]


def test_the_units_are_what_they_are_called() -> None:
    """A day has 24 hours, a week seven days."""
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


@pytest.mark.parametrize("text", ["", "30", "d", "0d", "1.5d", "-1d", "30 d", "1m", "30D"])
def test_a_wrong_duration_is_one_line(text: str) -> None:
    """What, what was given and what is allowed."""
    message = catch_refusal(make_policy, 5, text, 0.0)
    assert f"older-than is '{text}'" in message
    assert "such as 12h, 30d or 2w" in message


def test_keeping_nothing_is_refused() -> None:
    """Of each model one version stays at least."""
    assert "keep is 0, must be 1 or more" in catch_refusal(make_policy, 0, "30d", 0.0)


def test_a_size_has_four_digits_at_most() -> None:
    """In steps of a thousand, never rounded up to the next step's number."""
    texts = [format_bytes(size) for size in (0, 999, 1000, 12_345, 999_949, 999_951, 5 * 10**18)]
    assert texts == ["0 B", "999 B", "1.0 kB", "12.3 kB", "999.9 kB", "1.0 MB", "5000.0 PB"]


def test_an_age_has_one_unit() -> None:
    """Rounded down; what is in the future is now."""
    texts = [format_age(age) for age in (-5, 59, 60, 3599, 3600, 86_399, 86_400, 90 * 86_400)]
    assert texts == ["0 min", "0 min", "1 min", "59 min", "1 h", "23 h", "1 d", "90 d"]
