"""What a trial asks of the cluster, and how many have a place in it."""

import logging
import os
from typing import Any

import ray
from ray import tune
from ray.tune.search import ConcurrencyLimiter, Searcher

from vae.cluster.session import Resources
from vae.errors import UserError
from vae.experiments.search import SearchConfig

log = logging.getLogger("vae.search")


def request_device(use_gpu: bool, trials: int = 1) -> dict[str, float]:
    """What a process that trains asks of Ray: its share of a GPU, or of a CPU.

    Of CPUs for a GPU next to nothing, or a node with few would leave some of its GPUs idle.
    """
    return {"CPU": 0.01, "GPU": 1 / trials} if use_gpu else {"CPU": 1 / trials}


def request_places(config: SearchConfig, use_gpu: bool) -> tune.PlacementGroupFactory:
    """What a trial asks of Ray, all or nothing: a device for each worker, or its share of one.

    The process that has several workers train takes none: Tune's empty first place.
    """
    workers = config.workers_per_trial
    devices = [request_device(use_gpu, config.trials_per_device)] * workers
    return tune.PlacementGroupFactory([{}, *devices] if workers > 1 else devices)


def check_room(config: SearchConfig, resources: Resources) -> None:
    """See that a trial has a device for each worker; a cluster may grow, and a line says for what.

    Raises UserError where it may not.
    """
    wanted, there = config.workers_per_trial, resources.slots
    if wanted <= there:
        return
    kind = "GPU" if resources.use_gpu else "CPU"
    if not os.environ.get("RAY_ADDRESS"):
        raise UserError(
            f"search.workers_per_trial is {wanted}, but there are {there} {kind}s and each worker "
            f"takes one: give at most {there}"
        )
    told = "search   waits for %d %ss for a trial: the cluster has %d; it goes on when it has more"
    log.warning(told, wanted, kind, there)


class PlaceLimiter(ConcurrencyLimiter):  # type: ignore[misc]
    """Has as many trials run side by side as the cluster has places for when one could begin.

    On a cluster that was joined one more waits: an autoscaler adds nodes for what has no place.
    """

    def __init__(self, searcher: Searcher, config: SearchConfig, use_gpu: bool) -> None:
        self.config, self.kind = config, "GPU" if use_gpu else "CPU"
        super().__init__(searcher, self.count_places())

    def count_places(self) -> int:
        """Trials that the cluster, as it is now, has devices for, and those that wait for one."""
        there = int(ray.cluster_resources().get(self.kind, 0))
        places = there // self.config.workers_per_trial * self.config.trials_per_device
        return places + 1 if os.environ.get("RAY_ADDRESS") else max(1, places)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The settings of the next trial, if there is a place for it."""
        self.max_concurrent = self.count_places()
        suggested: dict[str, Any] | str | None = super().suggest(trial_id)
        return suggested
