"""Which settings a search finds to matter."""

import math
import random
from dataclasses import replace

import pytest

from tuning.importance import measure_importance
from vae.experiments.search import Range, SearchConfig
from vae.experiments.settings import Value
from vae.runs.trials import Trial

CONFIG = SearchConfig(
    space={
        "train.learning_rate": Range(low=1e-4, high=1e-1, log=True),
        "model.latent_dim": Range(choice=(4, 8, 16)),
        "train.batch_size": Range(low=16, high=64),
    }
)


def make_trials(count: int) -> list[Trial]:
    """Trials whose loss, in nats, is decided by the learning rate and hardly by anything else."""
    generator = random.Random(0)
    trials = []
    for number in range(1, count + 1):
        rate = 10 ** generator.uniform(-4, -1)
        overrides: dict[str, Value] = {
            "train.learning_rate": rate,
            "model.latent_dim": generator.choice([4, 8, 16]),
            "train.batch_size": generator.randint(16, 64),
        }
        loss = 100 + abs(math.log10(rate) + 2.5) + 1e-6 * generator.random()
        trials.append(
            Trial(number=number, overrides=overrides, loss=loss, epochs=1, stopped=False, spans=[])
        )
    return trials


def test_what_decides_the_loss_is_the_most_important() -> None:
    """Shares of one whole, the largest first, and the same however the trials are ordered."""
    trials = make_trials(60)
    shares = measure_importance(CONFIG, trials)
    assert next(iter(shares)) == "train.learning_rate"
    assert shares["train.learning_rate"] > 0.7
    assert set(shares) == set(CONFIG.space)
    assert sum(shares.values()) == pytest.approx(1)
    assert measure_importance(CONFIG, trials[::-1]) == pytest.approx(shares)
    when: dict[str, tuple[int | float | str, ...]] = {"model.latent_dim": (8,)}
    sized = {"train.batch_size": replace(CONFIG.space["train.batch_size"], when=when)}
    conditional = replace(CONFIG, space=CONFIG.space | sized)
    unsized = [
        replace(trial, overrides=conditional.drop_unused(trial.overrides)) for trial in trials
    ]
    assert set(measure_importance(conditional, unsized)) == set(CONFIG.space) - set(sized)


def test_trials_that_failed_say_nothing() -> None:
    """Neither by their settings nor by a loss they had before."""
    trials = make_trials(20)
    failed = [replace(trial, error="diverged", loss=1.0) for trial in make_trials(5)]
    assert measure_importance(CONFIG, trials + failed) == measure_importance(CONFIG, trials)


def test_too_few_trials_say_nothing() -> None:
    """And so do many that are all the same."""
    assert measure_importance(CONFIG, make_trials(7)) == {}
    assert measure_importance(CONFIG, make_trials(8))
    assert measure_importance(CONFIG, [replace(one, loss=1.0) for one in make_trials(20)]) == {}
