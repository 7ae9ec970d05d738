"""Which trial won a search."""

import math
from dataclasses import replace

import pytest

from vae.errors import UserError
from vae.runs.trials import (
    Trial,
    choose_best,
    find_best,
    is_settled,
    sort_trials,
)


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
    assert choose_best(trials).number == winner
    assert choose_best(trials[::-1]).number == winner


def test_a_trial_that_failed_later_on_does_not_win() -> None:
    """The same settings would fail the final training, however low its first epochs were."""
    trials = [trial(1, 50.0, "training diverged"), trial(2, 60.0)]
    assert choose_best(trials).number == 2
    with pytest.raises(UserError, match=r"none of the 1 trials .* finished: training diverged"):
        choose_best(trials[:1])


def test_no_trial_finished() -> None:
    """A search without a result quotes the first error there is."""
    failed = [trial(0, None), trial(1, None, "out of memory"), trial(2, None, "other")]
    with pytest.raises(UserError, match=r"none of the 3 trials .* finished: out of memory"):
        choose_best(failed)
    with pytest.raises(UserError, match=r"none of the 0 trials of the search finished$"):
        choose_best([])
    assert find_best(failed) is None


def test_nan_never_wins() -> None:
    """A loss that is no number is no result, wherever it stands; it is sorted behind the others."""
    trials = [trial(1, math.nan), trial(2, 60.0), trial(3, math.inf), trial(4, 50.0, "lost")]
    assert choose_best(trials).number == 2
    assert sort_trials(trials)[0].number == 2


def test_outcomes() -> None:
    """An error outweighs being stopped early, and that having an end."""
    ended = trial(1, 60.0)
    assert ended.outcome == "finished"
    assert replace(ended, stopped=True).outcome == "stopped early"
    assert replace(ended, stopped=True, error="lost").outcome == "failed"


def test_a_trial_comes_back() -> None:
    """As plain data and back a trial is the same; one of version 0.1 has no metrics."""
    ended = replace(trial(1, 60.0), spans=[(1.0, 2.5)], metrics={"val/loss": 60.0})
    assert Trial.from_dict(ended.to_dict()) == ended
    older = ended.to_dict()
    del older["metrics"]
    assert Trial.from_dict(older) == replace(ended, metrics={})


@pytest.mark.parametrize(
    ("losses", "patience", "settled"),
    [
        ([3.0, 2.0, 2.5], 1, True),
        ([3.0, 2.0, 2.5], 2, False),
        ([3.0, 2.0, None, 2.0], 2, True),  # one that failed, and one that is only as good
        ([2.0, 3.0], 0, False),
        ([None, None, None], 2, False),
        ([], 2, False),
    ],
)
def test_a_search_is_settled_when_its_best_no_longer_moves(
    losses: list[float | None], patience: int, settled: bool
) -> None:
    """By number, in whatever order they are told; as long as none finished, it goes on."""
    trials = [trial(number, loss) for number, loss in enumerate(losses, start=1)]
    assert is_settled(trials, patience) is settled
    assert is_settled(trials[::-1], patience) is settled
