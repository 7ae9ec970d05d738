"""A training step replayed as one CUDA graph.

A small model's step is a hundred small kernels, and launching each of them takes the host longer
than the GPU takes to run it; a graph launches all of them at once. Only for one process: DDP's
all-reduce can't be part of the graph.
"""

import gc
from collections.abc import Callable

import torch
from torch import Tensor

from vae.training.batches import Batch, Shard
from vae.training.step import (
    Forward,
    Step,
    StepContext,
    TrainState,
    backward,
    set_learning_rate,
    train_step,
    update,
)

WARM_UP_STEPS = 3  # before a capture: libraries make their workspaces, Adam its moments


class GraphedStep:
    """`train_step` with the same arguments and results, for which the host waits nowhere.

    The first steps, and batches that are not full, are `train_step` itself. Every other step copies
    its batch to where the graph reads it, and replays forward, backward, clipping and Adam. Only
    the device knows whether a gradient was finite: from the first bad one on it makes no update and
    every loss is NaN, which `train_epoch` finds at the end of the epoch.
    """

    def __init__(self) -> None:
        self.warm_up = WARM_UP_STEPS
        self.replay: Callable[[], None] | None = None

    def __call__(
        self, state: TrainState, forward: Forward, batch: Batch, context: StepContext
    ) -> Tensor:
        """Make one update; return the mean loss of the batch, in nats per image."""
        if self.warm_up or batch.global_size != context.train.batch_size:
            self.warm_up = max(0, self.warm_up - 1)
            if self.replay and self.broken:
                state.step += 1
                return self.loss.clone()
            return train_step(state, forward, batch, context)
        if self.replay is None:
            self.allocate(state, batch)
            work = self.define_work(state, forward, context)
            self.replay = capture(work, batch.x_BCHW.device)
        self.batch.x_BCHW.copy_(batch.x_BCHW)
        self.batch.eps_KBD.copy_(batch.eps_KBD)
        self.beta.fill_(context.beta_at(state.step))
        set_learning_rate(state, context)
        self.replay()
        state.step += 1
        return self.loss.clone()

    def allocate(self, state: TrainState, batch: Batch) -> None:
        """Make the tensors through which the graph and the host talk."""
        self.batch = Batch(batch.x_BCHW.clone(), batch.eps_KBD.clone(), batch.global_size)
        self.beta, self.loss = batch.x_BCHW.new_zeros(2).unbind()
        self.broken = torch.zeros((), device=batch.x_BCHW.device)  # 0 or 1, as Adam takes it
        # PyTorch's hook for mixed precision, by which torch.amp.GradScaler has an optimiser skip an
        # update: Adam's fused kernel reads it, and changes nothing while it is 1.
        state.optimizer.found_inf = self.broken  # type: ignore[attr-defined]

    def define_work(
        self, state: TrainState, forward: Forward, context: StepContext
    ) -> Callable[[], None]:
        """What is captured: forward, backward, clipping, Adam."""

        def step() -> None:
            loss, norm = backward(state, forward, self.batch, context, self.beta)
            self.broken.logical_or_(~torch.isfinite(norm))
            update(state, context.train, norm)
            self.loss.copy_(loss.masked_fill(self.broken.bool(), torch.nan))

        return step


def choose_step(device: torch.device, shard: Shard) -> Step:
    """`train_step`, from a graph where one process has a GPU to itself."""
    return GraphedStep() if device.type == "cuda" and shard.world == 1 else train_step


def capture(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
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
