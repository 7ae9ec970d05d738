"""What the best of a search come to with other seeds."""

import math

import pytest

from vae.errors import UserError
from vae.runs.confirmations import Confirmation, choose_confirmed, measure_gain


def confirmation(number: int, *losses: float | None, own: bool = False) -> Confirmation:
    errors = ["diverged"] * sum(loss is None for loss in losses)
    given = list(losses)
    return Confirmation(number=number, overrides={}, losses=given, errors=errors, own=own)


def test_the_lowest_mean_wins() -> None:
    """Not the luckiest seed, and nothing that fails with one of them."""
    lucky, steady, failed = (
        confirmation(1, 80.0, 100.0),
        confirmation(2, 89.0, 90.0),
        confirmation(3, 70.0, None),
    )
    assert choose_confirmed([lucky, steady, failed]) == steady
    assert choose_confirmed([confirmation(2, 4.0, 6.0), confirmation(1, 5.0, 5.0)]).number == 1
    assert steady.to_dict()["spread"] == pytest.approx(math.sqrt(0.5))
    assert failed.to_dict()["mean"] is None
    assert failed.to_dict()["spread"] is None
    with pytest.raises(UserError, match=r"none of the 1 best .* other seeds: diverged"):
        choose_confirmed([failed])


def test_a_search_is_worth_what_its_winner_has_over_the_own_settings() -> None:
    """Seed by seed, which all have in common, so what a seed does to both is no uncertainty."""
    own, winner = confirmation(0, 90.0, 80.0, own=True), confirmation(3, 88.0, 77.0)
    gain = measure_gain([own.to_dict(), winner.to_dict()])
    assert gain
    assert gain.mean == 2.5
    assert gain.spread == pytest.approx(math.sqrt(0.5))
    assert winner.to_dict()["spread"] > 7
    assert measure_gain([own.to_dict()]) == (0.0, 0.0)
    failed = confirmation(0, 90.0, None, own=True)
    assert measure_gain([failed.to_dict(), winner.to_dict()]) is None
    assert measure_gain([winner.to_dict()]) is None
