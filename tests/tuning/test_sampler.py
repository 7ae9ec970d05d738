"""A search that was killed goes on with what it would have proposed, and stops whom it would."""

import itertools
import math
from dataclasses import replace

import pytest
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from tuning.planned import PlannedSearch
from tuning.proposals import METRIC, Proposal
from tuning.pruner import build_pruner
from tuning.sampler import ReplayedSearch, build_sampler, watch_end
from vae.experiments.loading import load_experiment
from vae.experiments.search import SearchConfig
from vae.experiments.settings import Experiment, Overrides, Value
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
    sampler: ReplayedSearch | PlannedSearch,
    proposals: list[Proposal],
    done: list[Trial],
    until: int,
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


FIRST: dict[str, Value] = {"model.latent_dim": 16, "train.learning_rate": 0.004}
GRID: Overrides = {
    "search.space": {
        "model.latent_dim": {"low": 1, "high": 5},
        "train.learning_rate": {"choice": [0.01, 0.004, 0.001]},
    }
}
CONDITIONAL: Overrides = {
    "search.space": {
        "model.latent_dim": {"choice": [4, 8, 16, 32]},
        "train.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
        "train.grad_clip": {"low": 1.0, "high": 5.0, "when": {"model.latent_dim": [8, 16]}},
        "train.batch_size": {"low": 50, "high": 60, "when": {"model.latent_dim": [32]}},
    }
}
KINDS: dict[str, Overrides] = {
    "tpe": {},
    "tpe if": CONDITIONAL,
    "sobol if": CONDITIONAL,
    "random": {},
    "sobol": {},
    "grid": GRID,
}


def load_kind(sampler: str, trials: int = TRIALS) -> Experiment:
    changes: Overrides = {**SPACE, **KINDS[sampler], "search.sampler": sampler.split()[0]}
    return load_experiment("tiny", {**changes, "search.trials": trials})


def propose(experiment: Experiment, first: dict[str, Value] | None = None) -> list[Proposal]:
    """What a search that nothing disturbs proposes."""
    proposals: list[Proposal] = []
    sampler = build_sampler(experiment, [], [], first)
    search_on(sampler, proposals, [], experiment.search.trials)
    return proposals


@pytest.mark.parametrize("first", [None, FIRST])
@pytest.mark.parametrize("sampler", KINDS)
@pytest.mark.parametrize("killed_at", [[1], [2], [7], [10], [11], [13], [2, 3, 12], [4, 4, 4]])
def test_the_proposals_are_those_of_an_undisturbed_search(
    killed_at: list[int], sampler: str, first: dict[str, Value] | None
) -> None:
    """Killed in any trials, the rest is proposed as if nothing had happened."""
    if first and sampler == "grid":
        first = {"model.latent_dim": 3, "train.learning_rate": 0.004}
    if first and sampler == "tpe if":
        first = FIRST | {"train.grad_clip": 2.0}
    experiment = load_kind(sampler)
    straight = propose(experiment, first)
    proposals, done = list[Proposal](), list[Trial]()
    for until in (*killed_at, TRIALS):
        resumed = build_sampler(experiment, proposals, done, first)
        search_on(resumed, proposals, done, until)
    assert proposals == straight
    assert first is None or straight[0].overrides == first


@pytest.mark.parametrize("sampler", KINDS)
def test_a_search_of_more_trials_begins_with_the_same(sampler: str) -> None:
    """So that one that has ended can be given more."""
    few = propose(load_kind(sampler, 6), FIRST)
    more = load_kind(sampler, 12)
    done = [ended(given.number, given.overrides) for given in few]
    proposals = list(few)
    search_on(build_sampler(more, proposals, done, FIRST), proposals, done, 12)
    assert proposals == propose(more, FIRST)


@pytest.mark.parametrize("sampler", ["tpe if", "sobol if"])
def test_what_has_a_condition_varies_only_where_that_holds(sampler: str) -> None:
    """Within its range; elsewhere it is the experiment's, and no part of the candidate."""
    proposals = propose(load_kind(sampler))
    parts: dict[str, tuple[Value, ...]] = {"train.grad_clip": (8, 16), "train.batch_size": (32,)}
    for _, overrides in proposals:
        held = {name for name, dims in parts.items() if overrides["model.latent_dim"] in dims}
        assert set(overrides) == {"model.latent_dim", "train.learning_rate"} | held
    assert all(1 <= float(str(one.overrides.get("train.grad_clip", 1))) <= 5 for one in proposals)
    assert {name for one in proposals for name in one.overrides} > set(parts)


@pytest.mark.parametrize("sampler", KINDS)
def test_the_seed_decides_what_is_proposed(sampler: str) -> None:
    """Another one proposes other candidates, or in another order."""
    experiment = load_kind(sampler)
    assert propose(experiment) == propose(experiment)
    assert propose(experiment) != propose(replace(experiment, seed=1))


@pytest.mark.parametrize("sampler", KINDS)
def test_a_search_ends_when_the_best_no_longer_moves(sampler: str) -> None:
    """Three that are worse than the best are three in a row, whoever of them ended first."""
    proposals, done = list[Proposal](), list[Trial]()
    is_over = watch_end(done, 3, math.inf)
    search = build_sampler(load_kind(sampler), [], [], None, is_over)
    for number, loss in enumerate((5.0, 3.0, 4.0, 2.0, 2.0, 9.0, 7.0), start=1):
        overrides = search.suggest(f"trial-{number}")
        assert isinstance(overrides, dict)
        proposals.append(Proposal(number, overrides))
        done.append(replace(ended(number, overrides), loss=loss))
        search.on_trial_complete(f"trial-{number}", {METRIC: loss})
    assert not search.over
    assert search.suggest("trial-8") == Searcher.FINISHED
    assert search.over


def test_trials_that_began_in_another_order_are_told_all_the_same() -> None:
    """Two that were proposed together may be numbered either way: each keeps its own result."""
    made: list[Proposal] = []
    search_on(build_sampler(EXPERIMENT, [], []), made, [], 4)
    swapped = [Proposal(1, made[1].overrides), Proposal(2, made[0].overrides), *made[2:]]
    done = [ended(given.number, given.overrides) for given in swapped[:3]]
    sampler = build_sampler(EXPERIMENT, swapped, done)
    assert isinstance(sampler, ReplayedSearch)
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
    assert isinstance(sampler, ReplayedSearch)
    assert sampler.suggest("trial-3") == proposals[2].overrides
    values = [trial.value for trial in sampler._ot_study.trials if trial.value is not None]
    assert sorted(values) == sorted([loss_of(made[0].overrides), loss_of(other)])


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_new_is_proposed_after_the_deadline(kind: str) -> None:
    """But what a kill took is, and the first of all: a search has one trial at least."""
    past = watch_end([], 0, -math.inf)
    sampler = build_sampler(load_kind(kind), [], [], None, past)
    first = sampler.suggest("trial-1")
    assert isinstance(first, dict)
    assert not sampler.over
    assert sampler.suggest("trial-2") == Searcher.FINISHED
    assert sampler.over

    resumed = build_sampler(load_kind(kind), [Proposal(1, first)], [], None, past)
    assert resumed.suggest("trial-1") == first
    assert resumed.suggest("trial-2") == Searcher.FINISHED


def test_asha_remembers_what_it_was_told() -> None:
    """A trial that is worse than those before the kill is stopped as it would have been."""
    config = SearchConfig(trials=0, epochs=8, grace_epochs=1)
    good: dict[str, Value] = {"model.latent_dim": 32, "train.learning_rate": 0.003}
    done = [ended(number, good) for number in (1, 2)]

    def decide(trials: list[Trial], loss: float) -> str:
        pruner, trial = build_pruner(config, 0, trials), TuneTrial("new", stub=True)
        pruner.on_trial_add(None, trial)
        return str(pruner.on_trial_result(None, trial, {"epoch": 1, METRIC: loss}))

    assert decide(done, loss_of(good) + 50) == "STOP"
    assert decide(done, loss_of(good) - 1) == "CONTINUE"
    assert decide([], loss_of(good) + 50) == "CONTINUE"


def decide(pruner: TrialScheduler, number: int) -> list[float]:
    """The losses of a trial, as far as a pruner lets it: each is worse than those before it."""
    trial, losses = TuneTrial(f"new-{number}", stub=True), list[float]()
    pruner.on_trial_add(None, trial)
    for epoch in range(1, 9):
        losses.append(100.0 + number)
        if pruner.on_trial_result(None, trial, {"epoch": epoch, METRIC: losses[-1]}) == "STOP":
            break
    return losses


def test_hyperband_goes_on_with_the_brackets_it_would_have_drawn() -> None:
    """A trial is in the bracket that the seed and its turn give it, before a kill and after."""
    config = SearchConfig(epochs=8, pruner="hyperband")
    straight = build_pruner(config, 3, [])
    losses = [decide(straight, number) for number in range(40)]
    assert {1, 2} < {len(row) for row in losses}  # brackets that are patient, and that are not
    done = [
        replace(ended(number, FIRST), losses=row) for number, row in enumerate(losses[:5], start=1)
    ]
    resumed = build_pruner(config, 3, done)
    assert [decide(resumed, number) for number in range(5, 40)] == losses[5:]


def test_nobody_is_stopped_without_a_pruner() -> None:
    """However bad the loss."""
    pruner = build_pruner(SearchConfig(pruner="none", epochs=8), 0, [ended(1, FIRST)])
    trial = TuneTrial("new", stub=True)
    assert pruner.on_trial_result(None, trial, {"epoch": 1, METRIC: 1e9}) == "CONTINUE"
