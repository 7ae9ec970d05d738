"""Trainings of networks of one shape, stacked: an epoch of all of them together.

A small network's step leaves most of a GPU idle; the batched products of several take it hardly
longer. Each training comes to what it would alone, to rounding.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vae.training.batches import Batch
from vae.training.fit import Fit, Waited
from vae.training.interleaved import Outcome, train_interleaved
from vae.training.stack import Stack
from vae.training.step import choose_decay, end_epoch, explain_divergence


def find_shape(fit: Fit) -> Hashable:
    """What trainings on the same images have to have in common for a stack of them.

    With the ELBO they may differ in their latents. What a network lacks of the others' is there
    with weights and noise of 0, and stays so: a latent of mean 0 and variance 1 that the decoder
    ignores has a rate of 0, and gradients of 0. In a bound of weighted samples it would not. A
    training whose likelihood has a weight as well is of no other's shape.
    """
    sides = ("encoder.", "decoder.")
    if not all(name.startswith(sides) for name, _ in fit.state.model.named_parameters()):
        return fit
    model, objective, train = fit.experiment.model, fit.experiment.objective, fit.experiment.train
    if not objective.weighs_samples:
        model = replace(model, latent_dim=1)
    return (model, objective.kind, objective.samples, train.batch_size, train.precision)


def run_epoch(stack: Stack, fits: Sequence[Fit]) -> list[Outcome]:
    """Train an epoch of each: its metrics, or the DivergedError that ends it alone."""
    states = [fit.state for fit in fits]
    for state in states:
        state.sums.begin(state.epoch)
    stack.load(states)
    settings_S4T = stack.settings_4T.new_tensor(plan_settings(fits))
    batches = Waited(draw_together(fits), states[0].sums)
    told_S2T = [stack.step(*given) for given in zip(batches, settings_S4T, strict=True)]
    told_T2S = torch.stack(told_S2T).permute(2, 1, 0).cpu()
    stack.store(states)
    waited_s = states[0].sums.waited_s
    return [end(fit, waited_s, *told) for fit, told in zip(fits, told_T2S, strict=True)]


def plan_settings(fits: Sequence[Fit]) -> list[list[list[float]]]:
    """[S, 4, T]: the rates, betas, decays and largest norms of each step of an epoch."""
    settings = []
    for made in range(fits[0].context.steps_per_epoch):
        at = [(fit.context, fit.state.step + made) for fit in fits]
        settings.append(
            [
                [context.learning_rate_at(step) for context, step in at],
                [context.beta_at(step) for context, step in at],
                [choose_decay(context.train, step + 1) for context, step in at],
                [context.train.grad_clip or torch.inf for context, _ in at],
            ]
        )
    return settings


def draw_together(fits: Sequence[Fit]) -> Iterator[list[Batch]]:
    """The batch of each training for every step: one that several have in common is drawn once."""
    keys = [(fit.plan, fit.state.epoch) for fit in fits]
    drawn = {
        (plan, epoch): plan.draw_epoch(fit.train, epoch, fit.context.shard)
        for (plan, epoch), fit in zip(keys, fits, strict=True)
    }
    for batches in zip(*drawn.values(), strict=True):
        found = dict(zip(drawn, batches, strict=True))
        yield [found[key] for key in keys]


def end(fit: Fit, waited_s: float, losses_S: Tensor, norms_S: Tensor) -> Outcome:
    """Count the steps of an epoch, and validate: as for a training alone."""
    state, context = fit.state, fit.context
    broken = (~torch.isfinite(norms_S)).nonzero()
    if len(broken):
        first = int(broken[0])
        state.step += first
        return explain_divergence(state, losses_S[first], context)
    state.step += len(norms_S)
    state.sums.take(losses_S, norms_S, waited_s)
    return fit.close_epoch(end_epoch(state, context))


class Stacks:
    """The stacks of one process, by shape: kept for as long as they have the right size."""

    def __init__(self) -> None:
        self.kept: dict[Hashable, tuple[tuple[int, int], Stack]] = {}

    def train(self, fits: Sequence[Fit]) -> list[Outcome]:
        """Train an epoch of each, stacked with those of its shape: metrics, or what ends it."""
        groups: dict[Hashable, list[int]] = {}
        for turn, fit in enumerate(fits):
            groups.setdefault(find_shape(fit), []).append(turn)
        outcomes: dict[int, Outcome] = {}
        for shape, turns in groups.items():
            found = self.train_group(shape, [fits[turn] for turn in turns])
            outcomes |= zip(turns, found, strict=True)
        return [outcomes[turn] for turn in range(len(fits))]

    def train_group(self, shape: Hashable, fits: Sequence[Fit]) -> list[Outcome]:
        """The same of one shape."""
        if len(fits) == 1:
            return train_interleaved(fits)
        try:
            widest = max(fits, key=lambda fit: fit.state.model.latent_dim)
            size = (len(fits), widest.state.model.latent_dim)
            found, stack = self.kept.pop(shape, (None, None))
            if stack is None or found != size:
                stack = Stack(widest, len(fits))
            outcomes = run_epoch(stack, fits)
        except Exception as error:  # of all of them, such as too little memory
            return [error] * len(fits)
        self.kept[shape] = size, stack
        return outcomes
