"""A step whose outcome the host doesn't wait for: the same updates, and the same end if they fail.

On the CPU everything but the capture runs; where there is a GPU, the capture too.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.devices import DEVICES, needs_cuda
from vae.data.placement import Resident
from vae.experiments.settings import ModelConfig, ObjectiveConfig, TrainConfig
from vae.models.networks import DTYPES, VAE, build_model
from vae.training.batches import Batch, BatchPlan, Shard
from vae.training.cuda_graph import GraphedStep, capture
from vae.training.step import (
    DivergedError,
    Step,
    StepContext,
    TrainState,
    create_state,
    train_epoch,
    train_step,
)

SHAPE, EPOCHS, STEPS = (1, 4, 4), 3, 6  # of 8 images each, the last of 3
DENSE = ModelConfig(latent_dim=3, hidden=(8,))
CONV = ModelConfig(kind="ConvVAE", latent_dim=3, hidden=(8,), channels=(2, 3))
NETWORKS = {
    "convolutional": CONV,
    "levels": replace(
        CONV, likelihood="logistic-mixture", residual_blocks=1, normalization="group"
    ),
}
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({"ema_decay": 0.0}, {}),
    "clipped": ({"grad_clip": 0.5, "schedule": "cosine"}, {}),
    "warmed up": ({}, {"warmup_epochs": 2}),
    "convolutional": ({}, {}),
    "levels": ({}, {}),
    "weighted": ({"precision": "float64"}, {"kind": "dreg", "samples": 3}),
}


def batches_of(config: TrainConfig, objective: ObjectiveConfig, device: str) -> list[list[Batch]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (43, *SHAPE), dtype=torch.uint8, generator=generator).to(device)
    plan = BatchPlan(
        seed=0,
        batch_size=config.batch_size,
        samples=objective.samples,
        latent_dim=3,
        binarize=True,
        dtype=DTYPES[config.precision],
    )
    return [list(plan.draw_epoch(Resident(images), epoch, Shard())) for epoch in range(EPOCHS)]


def trained(
    step: Step,
    config: TrainConfig,
    objective: ObjectiveConfig,
    epochs: list[list[Batch]],
    device: str,
    network: ModelConfig = DENSE,
) -> tuple[TrainState, Tensor]:
    """The state and every loss after all epochs."""
    model = build_model(network, SHAPE)
    state = create_state(model, config, torch.device(device))
    losses = [
        train_epoch(state, model, batches, StepContext(config, objective, STEPS, Shard()), step)
        for batches in epochs
    ]
    return state, torch.cat(losses)


def weights(model: VAE) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_updates(name: str, device: str) -> None:
    """Weights and losses are those of `train_step`, through ragged batches and all schedules."""
    train, objective = SETTINGS[name]
    config = TrainConfig(epochs=EPOCHS, batch_size=8, learning_rate=0.01, **train)
    weighed = ObjectiveConfig(**objective)
    epochs = batches_of(config, weighed, device)
    given = (config, weighed, epochs, device, NETWORKS.get(name, DENSE))
    graphed, graphed_losses = trained(GraphedStep(), *given)
    plain, plain_losses = trained(train_step, *given)
    assert (graphed.epoch, graphed.step) == (plain.epoch, plain.step) == (EPOCHS, EPOCHS * STEPS)
    torch.testing.assert_close(graphed_losses, plain_losses)
    torch.testing.assert_close(weights(graphed.model), weights(plain.model))
    torch.testing.assert_close(weights(graphed.averaged), weights(plain.averaged))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bad", [3, 4, 5])  # then come a full batch, a ragged one, none
def test_divergence_is_found_at_the_end_of_the_epoch(bad: int, device: str) -> None:
    """After a bad step no update is made, full batch or not; the error names that step."""
    config = TrainConfig(epochs=EPOCHS, batch_size=8, learning_rate=0.01)
    first, *_ = batches_of(config, ObjectiveConfig(), device)
    state, _ = trained(train_step, config, ObjectiveConfig(), [first[:bad]], device)
    before = weights(state.model)
    broken = [*first[:bad], first[bad]._replace(eps_KBD=first[bad].eps_KBD * torch.nan)]
    model = build_model(DENSE, SHAPE)
    state = create_state(model, config, torch.device(device))
    context = StepContext(config, ObjectiveConfig(), STEPS, Shard())
    with pytest.raises(DivergedError, match=rf"diverged at step {bad} \(epoch 1, rank 0 of 1\)"):
        train_epoch(state, model, [*broken, *first[bad + 1 :]], context, GraphedStep())
    assert state.step == bad
    torch.testing.assert_close(weights(state.model), before)


@pytest.mark.gpu
@needs_cuda
def test_garbage_does_not_break_a_capture() -> None:
    """A former graph that only the collector can free, as late as it likes, is freed before."""
    ones, sums = torch.ones(1000, device="cuda"), torch.zeros(1000, device="cuda")

    def work() -> None:
        sums.add_(ones)
        [[] for _ in range(100_000)]  # enough for the collector to run

    for _ in range(3):
        forgotten: list[object] = [capture(work, ones.device)]
        forgotten.append(forgotten)
