"""A search that was killed goes on with what it would have proposed, and stops whom it would."""

import itertools
import math

import pytest
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.search import Searcher

from tuning.pruner import build_pruner
from tuning.sampler import METRIC, Proposal, ReplayedSearch, build_sampler
from vae.experiments.loading import load_experiment
from vae.experiments.search import SearchConfig
from vae.experiments.settings import Overrides, Value
from vae.runs.trials import Trial

TRIALS = 14  # TPE draws its first ten at random, and the others by what came of those
SPACE: Overrides = {
    "search.trials": TRIALS,
    "search.space": {
        "model.latent_dim": {"choice": [4, 8, 16, 32]},
        "train.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    },
}
EXPERIMENT = load_experiment("tiny", SPACE)


def loss_of(overrides: dict[str, Value]) -> float:
    """What a trial of these settings reaches."""
    latent_dim, rate = overrides["model.latent_dim"], overrides["train.learning_rate"]
    assert isinstance(latent_dim, int)
    assert isinstance(rate, float)
    return 100 / latent_dim + abs(rate - 0.003) * 1000


def ended(number: int, overrides: dict[str, Value]) -> Trial:
    loss = loss_of(overrides)
    return Trial(
        number=number,
        overrides=overrides,
        loss=loss,
        epochs=2,
        stopped=False,
        spans=[],
        losses=[loss + 1, loss],
    )


def search_on(
    sampler: ReplayedSearch, proposals: list[Proposal], done: list[Trial], until: int
) -> None:
    """Run trials one at a time, until so many have begun; the last of them does not end."""
    begun = {given.number for given in proposals} - {trial.number for trial in done}
    for number in itertools.count(len(done) + 1):
        overrides = sampler.suggest(f"trial-{number}")
        assert overrides is not None
        if number in begun:
            assert Proposal(number, overrides) in proposals
        else:
            proposals.append(Proposal(number, overrides))
        if len(proposals) == until and number == until:
            return
        trial = ended(number, overrides)
        done.append(trial)
        sampler.on_trial_complete(f"trial-{number}", {METRIC: trial.loss})


@pytest.mark.parametrize("killed_at", [[1], [2], [7], [10], [11], [13], [2, 3, 12], [4, 4, 4]])
def test_the_proposals_are_those_of_an_undisturbed_search(killed_at: list[int]) -> None:
    """Killed in any trials, the rest is proposed as if nothing had happened."""
    straight: list[Proposal] = []
    search_on(build_sampler(EXPERIMENT, [], []), straight, [], TRIALS)
    proposals, done = list[Proposal](), list[Trial]()
    for until in (*killed_at, TRIALS):
        search_on(build_sampler(EXPERIMENT, proposals, done), proposals, done, until)
    assert proposals == straight


def test_trials_that_began_in_another_order_are_told_all_the_same() -> None:
    """Two that were proposed together may be numbered either way: each keeps its own result."""
    made: list[Proposal] = []
    search_on(build_sampler(EXPERIMENT, [], []), made, [], 4)
    swapped = [Proposal(1, made[1].overrides), Proposal(2, made[0].overrides), *made[2:]]
    done = [ended(given.number, given.overrides) for given in swapped[:3]]
    sampler = build_sampler(EXPERIMENT, swapped, done)
    assert [trial.value for trial in sampler._ot_study.trials[:3]] == [
        loss_of(given.overrides) for given in made[:3]
    ]
    assert sampler.suggest("trial-4") == made[3].overrides


def test_what_ended_in_another_order_is_not_lost() -> None:
    """Proposals that the sampler would not make again are tried, and told, all the same."""
    made: list[Proposal] = []
    search_on(build_sampler(EXPERIMENT, [], []), made, [], 3)
    other: dict[str, Value] = {"model.latent_dim": 32, "train.learning_rate": 0.0123}
    proposals = [made[0], Proposal(2, other), Proposal(3, other | {"model.latent_dim": 16})]
    sampler = build_sampler(EXPERIMENT, proposals, [ended(1, made[0].overrides), ended(2, other)])
    assert sampler.suggest("trial-3") == proposals[2].overrides
    values = [trial.value for trial in sampler._ot_study.trials if trial.value is not None]
    assert sorted(values) == sorted([loss_of(made[0].overrides), loss_of(other)])


def test_nothing_new_is_proposed_after_the_deadline() -> None:
    """But what a kill took is, and the first of all: a search has one trial at least."""
    sampler = build_sampler(EXPERIMENT, [], [])
    sampler.deadline = -math.inf
    first = sampler.suggest("trial-1")
    assert isinstance(first, dict)
    assert not sampler.over
    assert sampler.suggest("trial-2") == Searcher.FINISHED
    assert sampler.over

    resumed = build_sampler(EXPERIMENT, [Proposal(1, first)], [])
    resumed.deadline = -math.inf
    assert resumed.suggest("trial-1") == first
    assert resumed.suggest("trial-2") == Searcher.FINISHED


def test_asha_remembers_what_it_was_told() -> None:
    """A trial that is worse than those before the kill is stopped as it would have been."""
    config = SearchConfig(trials=0, epochs=8, grace_epochs=1)
    good: dict[str, Value] = {"model.latent_dim": 32, "train.learning_rate": 0.003}
    done = [ended(number, good) for number in (1, 2)]

    def decide(trials: list[Trial], loss: float) -> str:
        pruner, trial = build_pruner(config, trials), TuneTrial("new", stub=True)
        pruner.on_trial_add(None, trial)
        return str(pruner.on_trial_result(None, trial, {"epoch": 1, METRIC: loss}))

    assert decide(done, loss_of(good) + 50) == "STOP"
    assert decide(done, loss_of(good) - 1) == "CONTINUE"
    assert decide([], loss_of(good) + 50) == "CONTINUE"
