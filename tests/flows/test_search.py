"""The artifact that the search flow leaves."""

from typing import Any

from flows.search import format_winner, make_artifact_key
from vae.experiments.settings import Value
from vae.runs.trials import Trial


def trial(
    number: int, loss: float | None, latent_dim: int, error: str | None = None
) -> dict[str, Any]:
    """A trial as the search stage records it."""
    overrides: dict[str, Value] = {"model.latent_dim": latent_dim, "train.learning_rate": 0.001}
    ended = Trial(
        number=number,
        overrides=overrides,
        loss=loss,
        epochs=2,
        stopped=False,
        spans=[],
        error=error,
    )
    return ended.to_dict()


def test_winner_and_trials_are_shown_best_first() -> None:
    """The winner's settings, then every trial; those that failed come last, whatever their loss."""
    failed = trial(1, None, 2, "out of memory"), trial(2, 90.0, 4, "training diverged")
    trials = [*failed, trial(3, 101.5, 8), trial(4, 99.25, 16)]
    text = format_winner("run-1", {"overrides": trials[3]["overrides"], "trials": trials})
    assert "- `model.latent_dim` = 16" in text
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert rows == ["trial", "---", "4", "3", "2", "1"]
    assert "| 4 | 99.25 | 2 | finished | 16 | 0.001 |" in text
    assert "| 1 | – | 2 | failed | 2 | 0.001 |" in text


def test_an_experiment_without_a_search_says_so() -> None:
    """With search.trials = 0 there is no winner to name."""
    assert "search.trials is 0" in format_winner("run-1", {"overrides": {}, "trials": []})


def test_make_artifact_keys_are_what_prefect_takes() -> None:
    """Lower-case letters, digits and dashes, from any experiment's name or path."""
    assert make_artifact_key("mnist-conv") == "search-mnist-conv"
    assert make_artifact_key("My Experiments/a_b.toml") == "search-my-experiments-a-b-toml"
