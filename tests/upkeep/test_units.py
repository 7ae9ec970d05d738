"""Sizes, as people write and read them."""

import pytest

from tests.support.refusals import catch_refusal
from vae.upkeep.sweep import make_policy
from vae.upkeep.units import format_bytes


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
