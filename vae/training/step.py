"""One epoch of training: torch only, the same for a search trial, one process and a DDP worker."""

import copy
import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim.swa_utils import get_ema_multi_avg_fn

from vae.errors import UserError
from vae.models.densities import Densities
from vae.models.networks import VAE
from vae.models.objectives import ObjectiveConfig, loss_of
from vae.training.batches import Batch, Shard

Forward = Callable[[Tensor, Tensor], Densities]
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}


class DivergedError(UserError):
    """The loss or gradient stopped being finite; the model is as it was before the bad update."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the weights are found. Raises ValueError for what could never train."""

    epochs: int = 20
    batch_size: int = 128  # images in a global batch, over all workers
    learning_rate: float = 1e-3  # Adam's, at its peak
    schedule: Literal["constant", "cosine"] = "constant"  # cosine falls to 0 at the last step
    grad_clip: float = 0.0  # largest gradient norm; 0 leaves gradients alone
    ema_decay: float = 0.999  # of the average of weights that is judged and published; 0: off
    precision: Literal["float32", "bfloat16", "float64"] = "float32"  # bfloat16: autocast

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(
                f"epochs is {self.epochs} and batch_size {self.batch_size}, both must be at least 1"
            )
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}, must be above 0")
        if not 0 <= self.grad_clip < math.inf:
            raise ValueError(f"grad_clip is {self.grad_clip}, must be 0 (off) or above")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay is {self.ema_decay}, must be 0 (off) or above, below 1")

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and of everything that is summed."""
        return PRECISIONS[self.precision]


@dataclass
class TrainState:
    """What a checkpoint holds: all that training goes on from besides the data, and the average."""

    model: VAE
    averaged: VAE  # what is validated and published: the model itself where nothing is averaged
    optimizer: torch.optim.Adam
    epoch: int = 0  # epochs finished
    step: int = 0  # updates made


# What `train_step` takes and returns.
Step = Callable[[TrainState, Forward, Batch, TrainConfig, ObjectiveConfig, int, Shard], Tensor]


def new_state(model: VAE, config: TrainConfig, device: torch.device) -> TrainState:
    """Start training `model` on `device`: Adam, in one fused kernel per step.

    On a GPU its learning rate is a tensor there, so that a CUDA graph of a step can read it.
    """
    model, on_gpu = model.to(device, config.dtype), device.type == "cuda"
    rate = torch.tensor(config.learning_rate, device=device) if on_gpu else config.learning_rate
    optimizer = torch.optim.Adam(model.parameters(), rate, fused=True, capturable=on_gpu)
    averaged = copy.deepcopy(model).requires_grad_(False) if config.ema_decay else model
    return TrainState(model, averaged, optimizer)


def learning_rate_at(config: TrainConfig, step: int, total_steps: int) -> float:
    """The learning rate of update `step` of `total_steps`, counted from 0."""
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / total_steps))


def train_epoch(
    state: TrainState,
    forward: Forward,
    batches: Iterable[Batch],
    config: TrainConfig,
    objective: ObjectiveConfig,
    *,
    steps: int,
    shard: Shard,
    step: Step | None = None,
    on_step: Callable[[int], None] = lambda step: None,
) -> Tensor:
    """Run one epoch of `steps` updates and return this rank's part of each step's mean loss.

    Collective: under DDP every rank calls it. The result is float64 [steps], in nats per image;
    summed over ranks it is the loss of the global batches. `forward` is the model, or DDP around
    it; `step` is `train_step`, or the same from a CUDA graph. After every step the weights are
    averaged. Raises DivergedError, on every rank and with the model as it was before the update, if
    a gradient was not finite.
    """
    losses, step = list[Tensor](), step or train_step
    for batch in batches:
        losses.append(step(state, forward, batch, config, objective, steps, shard))
        average(state, config)
        on_step(len(losses))
    values = torch.stack(losses).double().cpu()
    broken = (~torch.isfinite(values)).nonzero()
    if len(broken):  # a graph's, which the host learns of only now
        first = int(broken[0])
        state.step -= len(values) - first
        raise diverged(state, values[first], config, shard)
    state.epoch += 1
    return values


def train_step(
    state: TrainState,
    forward: Forward,
    batch: Batch,
    config: TrainConfig,
    objective: ObjectiveConfig,
    steps: int,
    shard: Shard,
) -> Tensor:
    """Make one update of an epoch of `steps`; return this rank's part of the global mean loss.

    Collective. Raises DivergedError, on every rank and before the update.
    """
    beta = objective.beta_at(state.step / steps)
    loss, norm = backward(state, forward, batch, config, objective, beta, shard)
    if not torch.isfinite(norm):
        raise diverged(state, loss, config, shard)
    set_learning_rate(state, config, steps)
    update(state, config, norm)
    state.step += 1
    return loss


def backward(
    state: TrainState,
    forward: Forward,
    batch: Batch,
    config: TrainConfig,
    objective: ObjectiveConfig,
    beta: float | Tensor,
    shard: Shard,
) -> tuple[Tensor, Tensor]:
    """Give the parameters their gradients; this rank's part of the mean loss, and their norm.

    Collective. Both are scalars on the device; the loss is in nats per image.
    """
    with autocast(config, batch.x_BCHW.device):
        densities = forward(batch.x_BCHW, batch.eps_KBD)
    mean_loss = loss_of(objective, densities, beta).sum() / batch.global_size
    # DDP averages gradients over ranks; shards may differ in size, so each rank's part of the
    # global mean is scaled by the number of ranks to make that average the global mean's gradient.
    # A loss that is not finite, times 0, is NaN: it reaches every rank through the gradient, which
    # may be finite where the loss is not.
    scale = shard.world + 0 * mean_loss.detach()
    (mean_loss * scale).backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in state.model.parameters() if p.grad is not None]
    return mean_loss.detach(), get_total_norm(gradients)


def set_learning_rate(state: TrainState, config: TrainConfig, steps: int) -> None:
    """The rate of the next update, of epochs of `steps` each."""
    rate = learning_rate_at(config, state.step, steps * config.epochs)
    for group in state.optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def update(state: TrainState, config: TrainConfig, norm: Tensor) -> None:
    """Clip the gradients, which have this norm, let Adam use them, and drop them."""
    if config.grad_clip:
        clip_grads_with_norm_(state.model.parameters(), config.grad_clip, norm)
    state.optimizer.step()
    state.optimizer.zero_grad()


def average(state: TrainState, config: TrainConfig) -> None:
    """Move the averaged weights towards those of the update just made.

    Exponential. Over the first updates the decay rises as (1 + t) / (10 + t), as TensorFlow's does,
    so that the average leaves the untrained weights behind however few updates there are.
    """
    if config.ema_decay:
        decay = min(config.ema_decay, (1 + state.step) / (10 + state.step))
        moved = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        moved(list(state.averaged.parameters()), list(state.model.parameters()), state.step)


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 matrix products where the precision asks for them; densities stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")


def emulated(config: TrainConfig, device: torch.device) -> bool:
    """Whether an x86-64 CPU has to emulate this precision's products, slower than float32's."""
    found = torch.cpu.get_capabilities()
    on_such = device.type == "cpu" and found["architecture"] == "x86_64"
    return config.precision == "bfloat16" and on_such and not found["avx512_bf16"]


def diverged(state: TrainState, loss: Tensor, config: TrainConfig, shard: Shard) -> DivergedError:
    """Name the step, the rank and the setting most likely at fault."""
    return DivergedError(
        f"training diverged at step {state.step} (epoch {state.epoch + 1}, rank {shard.rank} of "
        f"{shard.world}): loss {float(loss):g} nats or its gradient is not finite; most likely "
        f"train.learning_rate = {config.learning_rate:g} is too high, try "
        f"{config.learning_rate / 3:.1g}"
    )
