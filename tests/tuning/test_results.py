"""Which trial won a search."""

import math

import pytest

from tuning.results import Trial, best_trial
from vae.errors import UserError


def trial(number: int, loss: float | None, error: str | None = None) -> Trial:
    return Trial(
        number=number,
        overrides={"model.latent_dim": number},
        loss=loss,
        epochs=1,
        stopped=False,
        spans=[],
        error=error,
    )


@pytest.mark.parametrize(
    ("bounds", "winner"),
    [
        ([3.0, 1.0, 2.0], 1),
        ([1.0, 1.0], 0),
        ([None, 4.0, math.nan, math.inf], 1),
        ([-math.inf, 5.0], 1),
    ],
)
def test_the_lowest_finite_bound_wins(bounds: list[float | None], winner: int) -> None:
    """The lowest bound wins, the first of equals; failed and diverged trials can't."""
    trials = [trial(number, loss) for number, loss in enumerate(bounds)]
    assert best_trial(trials).number == winner
    assert best_trial(trials[::-1]).number == winner


def test_no_trial_finished() -> None:
    """A search without a result quotes the first error there is."""
    failed = [trial(0, None), trial(1, math.nan, "out of memory"), trial(2, None, "other")]
    with pytest.raises(UserError, match=r"none of the 3 trials .* finished: out of memory"):
        best_trial(failed)
    with pytest.raises(UserError, match=r"none of the 0 trials of the search finished$"):
        best_trial([])
