"""Whether the best of a search are good or lucky, and better than what nobody searched for.

They and the experiment's own settings are trained again, with the same other seeds for all.
"""

from collections.abc import Sequence
from typing import TypeVar

from ray.tune.schedulers import FIFOScheduler

from tuning.design import Candidate
from tuning.planned import PlannedSearch
from tuning.proposals import Proposal
from tuning.recorder import Listener, Recorder, read_proposals, read_trials
from tuning.search import check_lost, run_trials
from tuning.trial_checkpoints import drop_beaten
from vae.cluster.session import Resources
from vae.data.datasets import DatasetRef
from vae.experiments.settings import SEEDS, Experiment
from vae.experiments.table import flatten
from vae.models.seeds import derive_seed
from vae.runs.confirmations import Confirmation
from vae.runs.run import Run
from vae.runs.trials import Trial, find_distinct

Given = TypeVar("Given", Trial, Proposal)
REPEATS = 2  # of each candidate, with a seed each


def confirm(
    run: Run,
    dataset: DatasetRef,
    resources: Resources,
    trials: Sequence[Trial],
    listener: Listener,
) -> tuple[list[Confirmation], list[Trial]]:
    """Train the `search.confirm` best and the experiment's own settings again with other seeds.

    What each came to, and the repeats.

    For all of `search.epochs`: nothing stops them early, no time budget either. What the store has
    is not run again. Blocks, and tells the listener in this process. Raises RuntimeError if the
    processes of some were lost: to confirm again is to run those again.
    """
    prefix = f"{run.prefix}/search/confirm"
    best = list_compared(run.experiment, trials)
    seeds = [derive_seed(run.experiment.seed, "confirm", turn) % SEEDS for turn in range(REPEATS)]
    candidates: list[Candidate] = [one.overrides | {"seed": s} for one in best for s in seeds]
    every, proposals = read_trials(run, prefix), read_proposals(run, prefix)
    done = keep_of(candidates, every)
    if left := len(candidates) - len(done):
        recorder = Recorder(run, prefix, every, proposals, listener)
        sampler = PlannedSearch(candidates, keep_of(candidates, proposals), done)
        run_trials(run, dataset, resources, recorder, sampler, FIFOScheduler(), left)
        every = read_trials(run, prefix)
        done = keep_of(candidates, every)
        check_lost(done, len(candidates))
    drop_beaten(run.store, prefix, every, keep=0)
    own = read_own(run.experiment)
    return [gather(one, seeds, done, own=one.overrides == own) for one in best], done


def keep_of(candidates: Sequence[Candidate], given: Sequence[Given]) -> list[Given]:
    """Those of the candidates: a search that was given more trials had others among its best."""
    return [one for one in given if one.overrides in candidates]


def list_compared(experiment: Experiment, trials: Sequence[Trial]) -> list[Proposal]:
    """The best trials, and the experiment's own settings: number 0 unless a trial had them."""
    best = find_distinct(trials)[: experiment.search.confirm]
    own = read_own(experiment)
    numbers = [trial.number for trial in trials if trial.overrides == own]
    compared = [Proposal(trial.number, trial.overrides) for trial in best]
    if all(one.overrides != own for one in compared):
        compared.append(Proposal(min(numbers, default=0), own))
    return compared


def read_own(experiment: Experiment) -> Candidate:
    """What the experiment itself says of the settings that vary."""
    settings = flatten(experiment.to_dict())
    search = experiment.search
    return search.drop_unused({name: settings[name] for name in search.space})


def gather(
    given: Proposal, seeds: Sequence[int], repeats: Sequence[Trial], *, own: bool
) -> Confirmation:
    """What some settings came to with other seeds, in their order."""
    wanted = [given.overrides | {"seed": seed} for seed in seeds]
    found = [next(one for one in repeats if one.overrides == settings) for settings in wanted]
    losses = [one.loss if one.finished else None for one in found]
    errors = [one.error for one in found if one.error]
    return Confirmation(
        number=given.number, overrides=given.overrides, losses=losses, errors=errors, own=own
    )
