"""A training step as one CUDA graph: what a small model's many kernels cost is not launched anew.

Only for one process: DDP's all-reduce stays outside of graphs.
"""

import gc
from collections.abc import Callable

import torch
from torch import Tensor

from vae.models.objectives import ObjectiveConfig
from vae.training.batches import Batch, Shard
from vae.training.step import (
    Forward,
    Step,
    TrainConfig,
    TrainState,
    backward,
    set_learning_rate,
    train_step,
    update,
)

WARM_UP_STEPS = 3  # before a capture: libraries make their workspaces, Adam its moments


class GraphedStep:
    """`train_step` with its signature and its results, which nothing on the host waits for.

    The first steps, and batches that are not full, are `train_step` itself. Every other step copies
    its batch to where the graph reads it and replays forward, backward, clipping and Adam. Whether
    a gradient was finite is known on the device alone: from the first bad one on no update is made
    there and every loss is NaN, which `train_epoch` finds at the end of the epoch.
    """

    def __init__(self) -> None:
        self.warm_up = WARM_UP_STEPS
        self.replay: Callable[[], None] | None = None

    def __call__(
        self,
        state: TrainState,
        forward: Forward,
        batch: Batch,
        config: TrainConfig,
        objective: ObjectiveConfig,
        steps: int,
        shard: Shard,
    ) -> Tensor:
        """Make one update of an epoch of `steps`; return the mean loss of the batch."""
        if self.warm_up or batch.global_size != config.batch_size:
            self.warm_up = max(0, self.warm_up - 1)
            if self.replay and self.broken:
                state.step += 1
                return self.loss.clone()
            return train_step(state, forward, batch, config, objective, steps, shard)
        if self.replay is None:
            self.allocate(state, batch)
            work = self.work(state, forward, config, objective, shard)
            self.replay = captured(work, batch.x_BCHW.device)
        self.batch.x_BCHW.copy_(batch.x_BCHW)
        self.batch.eps_KBD.copy_(batch.eps_KBD)
        self.beta.fill_(objective.beta_at(state.step / steps))
        set_learning_rate(state, config, steps)
        self.replay()
        state.step += 1
        return self.loss.clone()

    def allocate(self, state: TrainState, batch: Batch) -> None:
        """Make the tensors through which the graph and the host talk."""
        self.batch = Batch(batch.x_BCHW.clone(), batch.eps_KBD.clone(), batch.global_size)
        self.beta, self.loss = batch.x_BCHW.new_zeros(2).unbind()
        self.broken = torch.zeros((), device=batch.x_BCHW.device)  # 0 or 1, as Adam takes it
        state.optimizer.found_inf = self.broken  # type: ignore[attr-defined]

    def work(
        self,
        state: TrainState,
        forward: Forward,
        config: TrainConfig,
        objective: ObjectiveConfig,
        shard: Shard,
    ) -> Callable[[], None]:
        """What is captured."""

        def step() -> None:
            loss, norm = backward(state, forward, self.batch, config, objective, self.beta, shard)
            self.broken.logical_or_(~torch.isfinite(norm))
            update(state, config, norm)
            self.loss.copy_(loss.masked_fill(self.broken.bool(), torch.nan))

        return step


def step_on(device: torch.device, shard: Shard) -> Step:
    """`train_step`, from a graph where one process has a GPU to itself."""
    return GraphedStep() if device.type == "cuda" and shard.world == 1 else train_step


def captured(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """A CUDA graph of the work, to replay; where there are none, the work itself.

    A graph keeps none of the tensors that it reads and writes: the caller does.
    """
    if device.type != "cuda":
        return work
    gc.collect()  # a graph that is garbage, were it to end during the capture, would break that
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay
