"""Whether the best of a search are good or lucky: they are trained again with other seeds."""

from collections.abc import Sequence

from ray.tune.schedulers import FIFOScheduler

from tuning.design import Candidate
from tuning.planned import PlannedSearch
from tuning.recorder import Listener, Recorder, read_proposals, read_trials
from tuning.search import check_lost, run_trials
from tuning.trial_checkpoints import drop_beaten
from vae.cluster.session import Resources
from vae.data.datasets import DatasetRef
from vae.experiments.settings import SEEDS
from vae.models.seeds import derive_seed
from vae.runs.run import Run
from vae.runs.trials import Confirmation, Trial, find_distinct

REPEATS = 2  # of each candidate, with a seed each


def confirm(
    run: Run,
    dataset: DatasetRef,
    resources: Resources,
    trials: Sequence[Trial],
    listener: Listener,
) -> tuple[list[Confirmation], list[Trial]]:
    """Train the `search.confirm` best again with other seeds; what each came to, and the repeats.

    For all of `search.epochs`: nothing stops them early, no time budget either. What the store has
    is not run again. Blocks, and tells the listener in this process. Raises RuntimeError if the
    processes of some were lost: to confirm again is to run those again.
    """
    prefix, config = f"{run.prefix}/search/confirm", run.experiment.search
    best = find_distinct(trials)[: config.confirm]
    seeds = [derive_seed(run.experiment.seed, "confirm", turn) % SEEDS for turn in range(REPEATS)]
    candidates: list[Candidate] = [trial.overrides | {"seed": s} for trial in best for s in seeds]
    done, proposals = read_trials(run, prefix), read_proposals(run, prefix)
    if left := len(candidates) - len(done):
        recorder = Recorder(run, prefix, done, proposals, listener)
        sampler = PlannedSearch(candidates, proposals, done)
        run_trials(run, dataset, resources, recorder, sampler, FIFOScheduler(), left)
        done = read_trials(run, prefix)
        check_lost(done, len(candidates))
    drop_beaten(run.store, prefix, done, keep=0)
    return [gather(trial, seeds, done) for trial in best], done


def gather(trial: Trial, seeds: Sequence[int], repeats: Sequence[Trial]) -> Confirmation:
    """What a trial came to with other seeds, in their order."""
    wanted = [trial.overrides | {"seed": seed} for seed in seeds]
    found = [next(one for one in repeats if one.overrides == given) for given in wanted]
    losses = [one.loss if one.finished else None for one in found]
    errors = [one.error for one in found if one.error]
    return Confirmation(
        number=trial.number, overrides=trial.overrides, losses=losses, errors=errors
    )
