"""Which trial won a search."""

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
        ([None, 4.0], 1),
    ],
)
def test_the_lowest_bound_wins(bounds: list[float | None], winner: int) -> None:
    """The lowest bound wins, the first of equals; a trial without one can't."""
    trials = [trial(number, loss) for number, loss in enumerate(bounds)]
    assert best_trial(trials).number == winner
    assert best_trial(trials[::-1]).number == winner


def test_a_trial_that_failed_later_on_does_not_win() -> None:
    """The same settings would fail the final training, however low its first epochs were."""
    trials = [trial(1, 50.0, "training diverged"), trial(2, 60.0)]
    assert best_trial(trials).number == 2
    with pytest.raises(UserError, match=r"none of the 1 trials .* finished: training diverged"):
        best_trial(trials[:1])


def test_no_trial_finished() -> None:
    """A search without a result quotes the first error there is."""
    failed = [trial(0, None), trial(1, None, "out of memory"), trial(2, None, "other")]
    with pytest.raises(UserError, match=r"none of the 3 trials .* finished: out of memory"):
        best_trial(failed)
    with pytest.raises(UserError, match=r"none of the 0 trials of the search finished$"):
        best_trial([])
