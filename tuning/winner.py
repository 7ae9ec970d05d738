"""Training begins with the epochs that the winner of the search has trained already.

They are the trial's, of `search.workers_per_trial` processes, however many workers train on: so a
run's weights are the same bits whether or not it was killed, and where its checkpoints were lost.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.placement_group import remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from tuning.design import Candidate
from tuning.places import request_places
from tuning.trial import TrialJob
from tuning.trial_checkpoints import locate
from tuning.trial_process import train_rest
from vae.cluster.evaluation import gather, request_slot
from vae.cluster.session import Resources
from vae.data.datasets import DatasetRef
from vae.publishing.epochs import copy_pictures
from vae.runs.run import Run
from vae.runs.timing import Span
from vae.store.promises import Store
from vae.training.checkpoints import (
    copy_epoch,
    find_best_epoch,
    read_epoch,
    read_latest,
)

log = logging.getLogger("vae.pipeline")


def take_over(
    run: Run, winner: Candidate, epochs: int, dataset: DatasetRef, resources: Resources
) -> list[Span]:
    """See that training has the winner's first `epochs` to go on from, in the run's checkpoints.

    What the search has not kept whole is trained again as its trial would. When something was
    computing for that. Blocks. Raises UserError.
    """
    store, training = run.store, f"{run.prefix}/checkpoints"
    if not epochs or has_reached(store, training, epochs):
        return []
    search = f"{run.prefix}/search"
    folder, spans = locate(search, winner), list[Span]()
    best = find_best_of(store, folder, epochs)
    if best is None:
        log.info("train    first trains what the search has not kept of %d epochs", epochs)
        job = TrialJob.of(run, dataset, search, resources.use_gpu)
        spans = train_again(winner, job, resources)
        best = find_best_of(store, folder, epochs)
        if best is None:
            raise RuntimeError(f"{store.uri}/{folder} does not keep the winner's epochs")
    copy_pictures(store, folder, f"{run.prefix}/pictures")
    for epoch in (best, epochs):  # the last makes it whole
        copy_epoch(store, folder, training, epoch)
    return spans


def has_reached(store: Store, prefix: str, epochs: int) -> bool:
    """Whether the newest whole checkpoint is of so many epochs or more."""
    content = read_latest(store, prefix)
    return content is not None and content["epoch"] >= epochs


def find_best_of(store: Store, folder: str, epochs: int) -> int | None:
    """The best of so many epochs; None unless the checkpoints of it and of the last are whole."""
    content = read_epoch(store, folder, epochs)
    if content is None:
        return None
    best = find_best_epoch(content["history"])
    if best == epochs or read_epoch(store, folder, best):
        return best
    store.delete(folder)  # no epoch but the first leads to that one again
    return None


def train_again(winner: Candidate, job: TrialJob, resources: Resources) -> list[Span]:
    """Train what the store lacks of the winner's epochs as its trial would; when it computed."""
    with hold_places(job, resources) as places:
        task = ray.remote(**places)(train_rest).remote(winner, job)
        [warned], spans = gather([task])
    for name, message in warned:
        logging.getLogger(name).warning("%s", message)
    return spans


@contextmanager
def hold_places(job: TrialJob, resources: Resources) -> Iterator[dict[str, Any]]:
    """A context with what a task asks of Ray to train as a trial does: where it has devices.

    Of several workers it only has them train: they end with its process.
    """
    if job.search.workers_per_trial == 1:
        yield request_slot(resources)
        return
    group = request_places(job.search, job.use_gpu).to_placement_group()
    inside = PlacementGroupSchedulingStrategy(group, 0, placement_group_capture_child_tasks=True)
    try:
        yield {"num_cpus": 0, "max_calls": 1, "scheduling_strategy": inside}
    finally:
        remove_placement_group(group)
