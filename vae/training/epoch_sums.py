"""What an epoch adds up step by step, for its row of metrics: kept with a checkpoint within it."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from vae.training.batches import Shard


class EpochSums:
    """Of the steps of one epoch so far, in this process and in those that it goes on from.

    `norm_sum`: of the gradients before clipping, a scalar on the device, to which a CUDA graph
    adds. `losses`: this rank's part of each step's mean loss, in nats, not yet fetched from the
    device. `began`: when the epoch began, later by the time in which no process trained it, seconds
    since 1970. `waited_s`: how long this rank waited for batches.
    """

    def __init__(self, device: torch.device) -> None:
        self.norm_sum = torch.zeros((), device=device)
        self.epoch, self.began = -1, 0.0
        self.clear()

    def clear(self) -> None:
        """Forget all steps."""
        self.norm_sum.zero_()
        self.fetched, self.losses = torch.zeros(0, dtype=torch.float64), list[Tensor]()
        self.waited_s = 0.0

    def begin(self, epoch: int) -> None:
        """Start at nothing, unless they are of this epoch."""
        if self.epoch != epoch:
            self.clear()
            self.epoch, self.began = epoch, time.time()

    def count_steps(self) -> int:
        """How many steps of the epoch are made."""
        return len(self.fetched) + len(self.losses)

    def fetch_losses(self) -> Tensor:
        """This rank's part of each step's mean loss, float64 [steps] on the CPU."""
        if self.losses:
            fetched = torch.stack(self.losses).double().cpu()
            self.fetched, self.losses = torch.cat([self.fetched, fetched]), []
        return self.fetched

    def take(self, losses: Tensor, norms: Tensor, waited_s: float) -> None:
        """Take the steps of a whole epoch at once: losses and gradient norms, each [steps]."""
        self.fetched, self.losses = losses.double().cpu(), []
        self.norm_sum.copy_(norms.sum())
        self.waited_s = waited_s

    def to_content(self, shard: Shard, reduce: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """What `restore` takes: numbers and tensors. Collective.

        Each rank's losses by themselves: a sum of them, summed on, may round otherwise.
        """
        losses_WS = torch.zeros((shard.world, self.count_steps()), dtype=torch.float64)
        losses_WS[shard.rank] = self.fetch_losses()
        return {
            "losses": reduce(losses_WS),
            "norm_sum": self.norm_sum.cpu(),
            "spent_s": time.time() - self.began,
            "waited_s": self.waited_s,
        }

    def restore(self, content: Mapping[str, Any], epoch: int, shard: Shard) -> None:
        """Go on from what `to_content` gave within an epoch, on as many ranks or on others."""
        losses_WS = content["losses"]
        if len(losses_WS) != shard.world:
            of_others = losses_WS.new_zeros((shard.world - 1, losses_WS.shape[1]))
            losses_WS = torch.cat([losses_WS.sum(0, keepdim=True), of_others])
        self.fetched, self.losses = losses_WS[shard.rank].clone(), []
        self.norm_sum.copy_(content["norm_sum"])
        self.epoch, self.began = epoch, time.time() - content["spent_s"]
        self.waited_s = content["waited_s"]
