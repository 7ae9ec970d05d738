"""What a run leaves in Prefect's UI."""

from typing import Any

from flows.artifacts import format_model, make_artifact_key
from flows.search_table import format_winner
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
    learnt: dict[str, Any] = {"importance": {}, "confirmed": []}
    result = {"overrides": trials[3]["overrides"], "trials": trials, **learnt}
    text = format_winner("run-1", result)
    assert "the lowest validation loss of 4 trials" in text
    assert "- `model.latent_dim` = 16" in text
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert rows == ["trial", "---", "4", "3", "2", "1"]
    assert "| 4 | 99.25 | 2 | finished | 16 | 0.001 |" in text
    assert "| 1 | – | 2 | failed | 2 | 0.001 |" in text


def test_what_a_search_taught_is_shown() -> None:
    """Which settings mattered, and how the best fared with other seeds."""
    first = {"number": 2, "losses": [99.0, 101.0], "mean": 100.0, "spread": 1.414}
    second = {"number": 1, "losses": [98.0, None], "mean": None, "spread": None}
    own = {"number": 0, "own": True, "losses": [99.5, 102.5], "mean": 101.0, "spread": 2.12}
    learnt = {
        "importance": {"train.learning_rate": 0.75, "model.latent_dim": 0.25},
        "confirmed": [first, second, own],
    }
    trials = [trial(1, 97.0, 8), trial(2, 98.0, 16)]
    result = {"overrides": trials[1]["overrides"], "trials": trials, **learnt}
    text = format_winner("run-1", result)
    assert "the lowest mean with other seeds of 2 trials" in text
    assert "| `train.learning_rate` | 75% |" in text
    assert "| trial 2 | 99.00, 101.00 | 100.00 | 1.41 |" in text
    assert "| trial 1 | 98.00, – | – | – |" in text
    assert "| the experiment's own settings | 99.50, 102.50 | 101.00 | 2.12 |" in text
    assert "1.00 nats less than the experiment's own settings, seed by seed; standard dev" in text


def test_make_artifact_keys_are_what_prefect_takes() -> None:
    """Lower-case letters, digits and dashes, from any experiment's name or path."""
    assert make_artifact_key("search", "mnist-conv") == "search-mnist-conv"
    assert (
        make_artifact_key("search", "My Experiments/a_b.toml") == "search-my-experiments-a-b-toml"
    )


def test_a_model_stands_beside_the_best_before_it() -> None:
    """Every metric of both, a dash for what the earlier one lacks, and where to go on."""
    ended: dict[str, Any] = {
        "told": "published m@v2, best so far, val 93.80 (-0.40)",
        "result": {"uri": "s3://b/models/m/versions/v2", "previous_version": "v1"},
        "run_id": "run-1",
        "wandb": {"urls": ["https://wandb.example/run"]},
    }
    text = format_model(ended, {"val/nll": 93.8, "test/new": 2.0}, {"val/nll": 94.2})
    assert text.startswith(ended["told"])
    assert "| val/nll | 93.8 | 94.2 |" in text
    assert "| test/new | 2 | – |" in text
    for place in ("v1", "s3://b/models/m/versions/v2/report.html", "https://wandb.example/run"):
        assert place in text
