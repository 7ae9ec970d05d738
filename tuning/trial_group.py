"""A trial of several workers: processes that are joined once, and train one trial after another.

They are actors in the trial's placement group. The process that Tune knows takes no device: it
asks all of them for the next epoch, and so none is left within one when the trial is stopped.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import cache
from typing import Any

import ray
import torch.distributed as dist
from ray.exceptions import RayActorError, RayTaskError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from tuning.design import Candidate
from tuning.places import request_device
from tuning.told import Told
from tuning.trial import TrialJob, find_device, train_part
from vae.errors import UserError
from vae.training.batches import Shard
from vae.training.cpu import set_up_cpu
from vae.training.ranks import Ranks

LOST_S = 30.0  # for Ray to notice that a process or its node is lost, once another has failed
JOIN_S = 300.0  # for all processes to have begun
Address = tuple[str, int]


class Member:
    """One rank, in a process of its own."""

    def __init__(self, rank: int, world: int) -> None:
        set_up_cpu()
        self.ranks = Ranks(find_device(), Shard(rank, world))
        self.epochs: Iterator[Told] = iter(())

    def open(self) -> Address:
        """Where this process, of rank 0, can be met by the others."""
        self.meeting = self.meet((ray.util.get_node_ip_address(), 0), first=True)
        return self.meeting.host, self.meeting.port

    def meet(self, address: Address, first: bool) -> TCPStore:
        """The place at this address; port 0 is any."""
        timeout = timedelta(seconds=JOIN_S)
        return TCPStore(*address, is_master=first, wait_for_workers=False, timeout=timeout)

    def join(self, address: Address) -> None:
        """Become one of torch.distributed's default group. Collective."""
        shard = self.ranks.shard
        place = self.meeting if shard.rank == 0 else self.meet(address, first=False)
        backend = "nccl" if self.ranks.device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=place, rank=shard.rank, world_size=shard.world)

    def begin(self, candidate: Candidate, job: TrialJob) -> None:
        """Leave the last trial, and have another one to train."""
        self.epochs = train_part(candidate, job, self.ranks)

    def advance(self) -> Told | None:
        """What the next epoch tells; None after the last. Collective."""
        return next(self.epochs, None)


class Group:
    """The processes of all ranks, each in a bundle of this process's placement group."""

    def __init__(self, world: int, use_gpu: bool) -> None:
        device, start = request_device(use_gpu), ray.remote(Member)
        place = ray.util.get_current_placement_group()
        self.members = [
            start.options(
                num_cpus=device["CPU"],
                num_gpus=device.get("GPU", 0),
                scheduling_strategy=PlacementGroupSchedulingStrategy(place, rank),
            ).remote(rank, world)
            for rank in range(world)
        ]
        self.ask("join", ray.get(self.members[0].open.remote()))

    def train(self, candidate: Candidate, job: TrialJob) -> Iterator[Told]:
        """Train a candidate for the search's epochs. Raises what one of the ranks has."""
        self.ask("begin", candidate, ray.put(job))
        while (parts := self.ask("advance"))[0] is not None:
            warned = [warning for part in parts for warning in part.warnings]
            yield parts[0]._replace(warnings=list(dict.fromkeys(warned)))

    def ask(self, method: str, *arguments: Any) -> list[Any]:
        """What every rank answers. Raises what made one of them fail."""
        asked = [getattr(member, method).remote(*arguments) for member in self.members]
        left = asked
        try:
            while left:
                ended, left = ray.wait(left)
                ray.get(ended)
        except Exception as error:
            raise find_cause(error, asked) from None
        return list(ray.get(asked))

    def end(self) -> None:
        """End the processes."""
        for member in self.members:
            ray.kill(member)


def find_cause(error: Exception, asked: Sequence[Any]) -> Exception:
    """What made the ranks fail: one of them may only tell that another is gone."""
    found = [error]
    if not isinstance(error, UserError | RayActorError):
        ended, _ = ray.wait(list(asked), num_returns=len(asked), timeout=LOST_S)
        found += filter(None, map(read_error, ended))
    lost = [one for one in found if isinstance(one, RayActorError)]
    cause = next(iter(lost), error)
    return cause.cause if isinstance(cause, RayTaskError) else cause


def read_error(answer: Any) -> Exception | None:
    """What a rank raised."""
    try:
        ray.get(answer)
    except Exception as error:
        return error
    return None


@cache
def join_group(world: int, use_gpu: bool) -> Group:
    """The processes that train all trials of this one."""
    return Group(world, use_gpu)


def train_together(candidate: Candidate, job: TrialJob) -> Iterator[Told]:
    """Train a candidate in as many processes as its search says. Raises what one of them has.

    They are kept for the next trial, unless one fails: the others may still wait for it.
    """
    group = join_group(job.search.workers_per_trial, job.use_gpu)
    try:
        yield from group.train(candidate, job)
    except Exception:
        group.end()
        join_group.cache_clear()
        raise
