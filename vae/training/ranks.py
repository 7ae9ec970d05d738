"""The processes that train one model together, as each of them sees it."""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from vae.models.networks import VAE
from vae.training.batches import Shard
from vae.training.fit import wrap_data_parallel


@dataclass(frozen=True)
class Ranks:
    """This process's device, its part of a training, and what it does together with the others.

    Several processes have joined torch.distributed's default group before.
    """

    device: torch.device
    shard: Shard = field(default_factory=Shard)

    def distribute(self, model: VAE) -> VAE | DistributedDataParallel:
        """The model, with gradients averaged over ranks if there are several. Collective."""
        return model if self.shard.world == 1 else wrap_data_parallel(model, self.device)

    def reduce(self, x: Tensor) -> Tensor:
        """The sum over ranks, on the CPU. Collective."""
        if self.shard.world == 1:
            return x
        on_device = x.to(self.device)
        dist.all_reduce(on_device)
        return on_device.cpu()

    def broadcast(self, content: Any) -> Any:
        """What rank 0 gave, on every rank. Collective."""
        if self.shard.world == 1:
            return content
        given = [content]
        dist.broadcast_object_list(given, device=self.device)
        return given[0]
