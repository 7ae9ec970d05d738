"""One epoch of training: torch only, the same for a search trial, one process and a DDP worker."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim.swa_utils import get_ema_multi_avg_fn

from vae.errors import EndedRunError
from vae.experiments.settings import ObjectiveConfig, TrainConfig
from vae.models.densities import Densities
from vae.models.networks import DTYPES, VAE
from vae.models.objectives import compute_loss
from vae.training.batches import Batch, Shard
from vae.training.epoch_sums import EpochSums

Forward = Callable[[Tensor, Tensor], Densities]


class DivergedError(EndedRunError):
    """The loss or gradient stopped being finite; the model is as it was before the bad update."""


@dataclass(frozen=True)
class StepContext:
    """What every step of a training shares."""

    train: TrainConfig
    objective: ObjectiveConfig
    steps_per_epoch: int
    shard: Shard

    def beta_at(self, step: int) -> float:
        """The weight of the rate at update `step`, counted from 0."""
        return self.objective.beta_at(step / self.steps_per_epoch)

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of update `step`, counted from 0."""
        if self.train.schedule == "constant":
            return self.train.learning_rate
        total_steps = self.steps_per_epoch * self.train.epochs
        return self.train.learning_rate * 0.5 * (1 + math.cos(math.pi * step / total_steps))


@dataclass
class TrainState:
    """What a checkpoint holds: all that training goes on from besides the data, and the average."""

    model: VAE
    averaged: VAE  # what is validated and published: the model itself where nothing is averaged
    optimizer: torch.optim.Adam
    sums: EpochSums  # of the epoch at work
    epoch: int = 0  # epochs finished
    step: int = 0  # updates made


Step = Callable[[TrainState, Forward, Batch, StepContext], Tensor]  # as `train_step`


def create_state(model: VAE, config: TrainConfig, device: torch.device) -> TrainState:
    """Start training `model` on `device`: Adam, in one fused kernel per step.

    On a GPU its learning rate is a tensor there, so that a CUDA graph of a step can read it.
    """
    model, on_gpu = model.to(device, DTYPES[config.precision]), device.type == "cuda"
    rate = torch.tensor(config.learning_rate, device=device) if on_gpu else config.learning_rate
    optimizer = torch.optim.Adam(model.parameters(), rate, fused=True, capturable=on_gpu)
    averaged = copy.deepcopy(model).requires_grad_(False) if config.ema_decay else model
    return TrainState(model, averaged, optimizer, EpochSums(device))


def train_epoch(
    state: TrainState,
    forward: Forward,
    batches: Iterable[Batch],
    context: StepContext,
    step: Step | None = None,
    on_step: Callable[[int], None] = lambda step: None,
) -> Tensor:
    """Run the rest of an epoch; return this rank's part of the mean loss of each of its steps.

    Collective: under DDP every rank calls it. The result is float64 [steps], in nats per image;
    summed over ranks it is the loss of the global batches. `batches` are those after the steps that
    are made; `forward` is the model, or DDP around it; `step` is `train_step`, or the same from a
    CUDA graph. After every step the weights are averaged, and `on_step` gets the steps of the epoch
    so far. Raises DivergedError, on every rank and with the model as it was before the update, if a
    gradient was not finite.
    """
    for made in make_steps(state, forward, batches, context, step or train_step):
        on_step(made)
    return end_epoch(state, context)


def make_steps(
    state: TrainState,
    forward: Forward,
    batches: Iterable[Batch],
    context: StepContext,
    step: Step,
) -> Iterator[int]:
    """Yield after each update of `train_epoch`: how many of the epoch are made. Collective."""
    state.sums.begin(state.epoch)
    for batch in batches:
        state.sums.losses.append(step(state, forward, batch, context))
        average(state, context.train)
        yield state.sums.count_steps()


def end_epoch(state: TrainState, context: StepContext) -> Tensor:
    """Count the epoch as finished; what `train_epoch` returns. Collective.

    Raises DivergedError instead, on every rank, if a gradient was not finite.
    """
    values = fetch_losses(state, context)
    state.epoch += 1
    return values


def fetch_losses(state: TrainState, context: StepContext) -> Tensor:
    """This rank's part of the mean loss of each step so far, float64 [steps]: all are finite.

    Raises DivergedError for what a CUDA graph has kept from the host until now.
    """
    values = state.sums.fetch_losses()
    broken = (~torch.isfinite(values)).nonzero()
    if len(broken):
        first = int(broken[0])
        state.step -= len(values) - first
        raise explain_divergence(state, values[first], context)
    return values


def train_step(state: TrainState, forward: Forward, batch: Batch, context: StepContext) -> Tensor:
    """Make one update; return this rank's part of the global mean loss, in nats per image.

    Collective. Raises DivergedError, on every rank and before the update.
    """
    loss, norm = backward(state, forward, batch, context, context.beta_at(state.step))
    if not torch.isfinite(norm):
        raise explain_divergence(state, loss, context)
    set_learning_rate(state, context)
    update(state, context.train, norm)
    state.step += 1
    return loss


def backward(
    state: TrainState,
    forward: Forward,
    batch: Batch,
    context: StepContext,
    beta: float | Tensor,
) -> tuple[Tensor, Tensor]:
    """Give the parameters their gradients; this rank's part of the mean loss, and their norm.

    Collective. Both are scalars on the device; the loss is in nats per image.
    """
    with autocast(context.train, batch.x_BCHW.device):
        densities = forward(batch.x_BCHW, batch.eps_KBD)
    mean_loss = compute_loss(context.objective, densities, beta).sum() / batch.global_size
    # A gradient may be finite where the loss is not. Added to the scale, this 0, which is NaN then,
    # makes the gradient NaN too, and so the averaged gradient of every rank: all of them stop.
    zero_or_nan = 0 * mean_loss.detach()
    # DDP divides the sum of all ranks' gradients by their number. Here each rank's loss is already
    # its part of the global mean, so the division is undone.
    (mean_loss * (context.shard.world + zero_or_nan)).backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in state.model.parameters() if p.grad is not None]
    return mean_loss.detach(), get_total_norm(gradients)


def set_learning_rate(state: TrainState, context: StepContext) -> None:
    """Give Adam the learning rate of the next update."""
    rate = context.learning_rate_at(state.step)
    for group in state.optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def update(state: TrainState, config: TrainConfig, norm: Tensor) -> None:
    """Clip the gradients, which have this norm, let Adam use them, and drop them."""
    state.sums.norm_sum.add_(norm)  # here, so that a CUDA graph does it too
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
        moved = get_ema_multi_avg_fn(choose_decay(config, state.step))  # type: ignore[no-untyped-call]
        moved(list(state.averaged.parameters()), list(state.model.parameters()), state.step)


def choose_decay(config: TrainConfig, updates: int) -> float:
    """What is kept of the averaged weights after so many updates."""
    return min(config.ema_decay, (1 + updates) / (10 + updates))


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 matrix products where the precision asks for them; densities stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")


def is_emulated(config: TrainConfig, device: torch.device) -> bool:
    """Whether an x86-64 CPU has to emulate this precision's products, slower than float32's."""
    found = torch.cpu.get_capabilities()
    on_such = device.type == "cpu" and found["architecture"] == "x86_64"
    return config.precision == "bfloat16" and on_such and not found["avx512_bf16"]


def explain_divergence(state: TrainState, loss: Tensor, context: StepContext) -> DivergedError:
    """The error to raise: the step, the rank, and the setting most likely at fault."""
    rate, shard = context.train.learning_rate, context.shard
    return DivergedError(
        f"training diverged at step {state.step} (epoch {state.epoch + 1}, rank {shard.rank} of "
        f"{shard.world}): loss {float(loss):g} nats or its gradient is not finite; most likely "
        f"train.learning_rate = {rate:g} is too high, try {rate / 3:.1g}"
    )
