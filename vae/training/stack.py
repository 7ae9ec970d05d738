"""Trainings as rows of the same tensors, and a step of all of them by batched products.

Shape suffixes beside those of `vae.models.networks`: T trainings, P weights of a network. B are the
images of all trainings, one after the other; each has as many.
"""

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from vae.models.batched import Batched
from vae.models.objectives import compute_loss
from vae.training.batches import Batch
from vae.training.cuda_graph import WARM_UP_STEPS, capture
from vae.training.fit import Fit
from vae.training.step import TrainState, autocast

NORM_EPSILON = 1e-6  # that of torch's clipping


class Stack:
    """The tensors of as many trainings as `size`, of which none has more latents than `pattern`.

    They, and on a GPU the CUDA graph of a step, are of use from one epoch to the next, also for
    other trainings.
    """

    x_BCHW: Tensor  # these two the graph reads
    eps_KBD: Tensor

    def __init__(self, pattern: Fit, size: int) -> None:
        model, self.context = pattern.state.model, pattern.context
        self.network = copy.deepcopy(model).to("meta")  # the weights are in the rows
        self.network.encoder = encoder = Batched(self.network.encoder, size)
        self.network.decoder = decoder = Batched(self.network.decoder, size, pattern.plan.samples)
        self.sides = {"encoder": encoder, "decoder": decoder}
        self.shapes = {name: weight.shape for name, weight in model.named_parameters()}
        total = sum(shape.numel() for shape in self.shapes.values())
        zeros_TP = torch.zeros((size, total), dtype=model.dtype, device=model.device)
        self.weights_TP = zeros_TP.clone().requires_grad_()
        self.averaged_TP, self.change_TP = zeros_TP.clone(), zeros_TP.clone()
        self.first_TP, self.second_TP = zeros_TP.clone(), zeros_TP.clone()
        self.updates_T = torch.zeros(size, device=model.device)
        self.adam = self.create_adam()
        self.settings_4T, self.told_2T = zeros_TP.new_zeros(4, size), zeros_TP.new_zeros(2, size)
        self.replay: Callable[[], None] | None = None
        self.warm_up = WARM_UP_STEPS

    def create_adam(self) -> torch.optim.Adam:
        """Adam with a rate of 1: every row takes its own rate's share of the change."""
        rows, on_gpu = list(self.change_TP), self.change_TP.is_cuda
        adam = torch.optim.Adam(rows, 1.0, fused=True, capturable=on_gpu)
        moments = zip(rows, self.updates_T, self.first_TP, self.second_TP, strict=True)
        for row, updates, first, second in moments:
            adam.state[row] = {"step": updates, "exp_avg": first, "exp_avg_sq": second}
        return adam

    def load(self, states: Sequence[TrainState]) -> None:
        """Take the trainings' weights, their averages and Adam's moments."""
        for rows_TP in (self.weights_TP, self.averaged_TP, self.first_TP, self.second_TP):
            rows_TP.detach().zero_()
        for row, state in enumerate(states):
            for stacked, own in self.pair(row, state):
                stacked.copy_(own)

    def store(self, states: Sequence[TrainState]) -> None:
        """Give them back."""
        for row, state in enumerate(states):
            for stacked, own in self.pair(row, state):
                own.copy_(stacked)

    def pair(self, row: int, state: TrainState) -> Iterator[tuple[Tensor, Tensor]]:
        """The parts of a row, each with what it is in a training's own state."""
        averaged = dict(state.averaged.named_parameters())
        stacked = [
            self.split(rows_TP.detach())
            for rows_TP in (self.weights_TP, self.averaged_TP, self.first_TP, self.second_TP)
        ]
        for name, weight in state.model.named_parameters():
            moments = find_moments(state.optimizer, weight)
            own = (weight, averaged[name], moments["exp_avg"], moments["exp_avg_sq"])
            for rows, tensor in zip(stacked, own, strict=True):
                yield match(rows[name][row], tensor.detach())
            yield self.updates_T[row], moments["step"]

    def split(self, rows_TP: Tensor) -> dict[str, Tensor]:
        """Views of the rows as stacked parameters, by name."""
        sizes = [shape.numel() for shape in self.shapes.values()]
        parts = zip(self.shapes.items(), torch.split(rows_TP, sizes, 1), strict=True)
        return {name: part.view(-1, *shape) for (name, shape), part in parts}

    def step(self, batches: Sequence[Batch], settings_4T: Tensor) -> Tensor:
        """Make an update of each; their losses and gradient norms [2, T]. On a GPU, from a graph.

        That holds for full batches, once the first few steps have set up what they need.
        """
        self.settings_4T.copy_(settings_4T)
        images, latents = [batch.x_BCHW for batch in batches], self.network.latent_dim
        noise = [pad(batch.eps_KBD, (0, latents - batch.eps_KBD.shape[-1])) for batch in batches]
        if self.warm_up or batches[0].global_size != self.context.train.batch_size:
            self.warm_up = max(0, self.warm_up - 1)
            self.update(torch.cat(images), torch.cat(noise, 1))
            return self.told_2T.clone()
        if self.replay is None:
            self.x_BCHW, self.eps_KBD = torch.cat(images), torch.cat(noise, 1)
            self.replay = capture(
                lambda: self.update(self.x_BCHW, self.eps_KBD), self.x_BCHW.device
            )
        torch.cat(images, out=self.x_BCHW)
        torch.cat(noise, 1, out=self.eps_KBD)
        self.replay()
        return self.told_2T.clone()

    def update(self, x_BCHW: Tensor, eps_KBD: Tensor) -> None:
        """Forward, backward, clipping, Adam and averages of all rows."""
        rates_T, betas_T, decays_T, clips_T = self.settings_4T
        losses_T = self.compute_losses(x_BCHW, eps_KBD, betas_T)
        zeros_or_nans_T = 0 * losses_T.detach()  # see vae.training.step.backward
        summed = (losses_T * (1 + zeros_or_nans_T)).sum()
        [grad_TP] = torch.autograd.grad(summed, [self.weights_TP])
        norms_T = torch.linalg.vector_norm(grad_TP, dim=1)
        grad_TP *= (clips_T / (norms_T + NORM_EPSILON)).clamp(max=1)[:, None]
        for change, grad in zip(self.adam.param_groups[0]["params"], grad_TP, strict=True):
            change.grad = grad
        self.adam.step()
        with torch.no_grad():
            self.weights_TP.addcmul_(self.change_TP, rates_T[:, None])
            self.averaged_TP.lerp_(self.weights_TP, 1 - decays_T[:, None])
        self.change_TP.zero_()
        torch.stack([losses_T.detach(), norms_T], out=self.told_2T)

    def compute_losses(self, x_BCHW: Tensor, eps_KBD: Tensor, betas_T: Tensor) -> Tensor:
        """The mean loss of each training's images, [T] in nats per image."""
        for name, weights in self.split(self.weights_TP).items():
            side, _, inside = name.partition(".")
            self.sides[side].weights[inside] = weights
        with autocast(self.context.train, x_BCHW.device):
            densities = self.network(x_BCHW, eps_KBD)
        betas_B = betas_T.repeat_interleave(len(x_BCHW) // len(betas_T))
        losses_B = compute_loss(self.context.objective, densities, betas_B)
        return losses_B.view(len(betas_T), -1).mean(1)


def match(row: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """What a network with as many latents or fewer has of a row's weight, and its own."""
    if len(row) != len(own):  # what the encoder gives: all means, then all log-variances
        row, own = (weight.view(2, -1, *weight.shape[1:]) for weight in (row, own))
    return (row[:, : own.shape[1]], own) if own.dim() > 1 else (row, own)


def find_moments(optimizer: torch.optim.Adam, weight: Tensor) -> dict[str, Tensor]:
    """Adam's moments of a weight: as Adam itself would begin, if it has made no step."""
    if weight not in optimizer.state:
        optimizer.state[weight] = {
            "step": torch.zeros((), device=weight.device),
            "exp_avg": torch.zeros_like(weight),
            "exp_avg_sq": torch.zeros_like(weight),
        }
    moments: dict[str, Tensor] = optimizer.state[weight]
    return moments
