"""A whole fit: the same weights from 1, 2 and 4 workers, and a model that learns."""

import math
import tempfile
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.support.distributed import spawned
from tests.support.images import draw_images
from vae.data.binarization import prepare_inputs
from vae.data.rows import Rows
from vae.evaluation.bounds import CHUNK_IMAGES
from vae.experiments.loading import parse_experiment
from vae.experiments.settings import Experiment
from vae.store.open import open_store
from vae.store.promises import Store
from vae.training import checkpoints
from vae.training.batches import Shard
from vae.training.fit import Fit, Row, wrap_data_parallel
from vae.training.step import DivergedError, Forward, train_step

SHAPE = (1, 4, 4)
CPU = torch.device("cpu")
TIMES = ("images_per_s", "data_wait_s", "began", "ended")
DENSE: dict[str, Any] = {"hidden": [8], "latent_dim": 3}
CONV: dict[str, Any] = DENSE | {"kind": "ConvVAE", "channels": [2, 3]}
LEVELS: dict[str, Any] = CONV | {"likelihood": "logistic", "scale": "channel"}


def experiment_of(**changes: dict[str, Any]) -> Experiment:
    """Three epochs of 30 images in batches of 8, the last of which holds 6."""
    train = {"epochs": 3, "batch_size": 8, "learning_rate": 0.01, "precision": "float64"}
    objective = {"kind": "iwae", "samples": 2}
    settings = {"name": "small", "model": DENSE, "train": train, "objective": objective}
    return parse_experiment(settings | changes)


def reduce(x: Tensor) -> Tensor:
    """The sum over ranks, where there are several."""
    if dist.is_initialized():
        dist.all_reduce(x)
    return x


def trained(
    experiment: Experiment, shard: Shard = Shard(), n: int = 30
) -> tuple[list[Row], Tensor, dict[str, Tensor]]:
    """The metrics of every epoch, the loss of every step, the weights judged. Collective."""
    fit = Fit(
        experiment,
        draw_images(n, SHAPE),
        draw_images(CHUNK_IMAGES + 50, SHAPE, 1),
        CPU,
        shard,
        reduce,
    )
    model = fit.state.model
    forward = wrap_data_parallel(model, CPU) if shard.world > 1 else model
    epochs = [fit.run_epoch(forward, lambda step: None) for _ in range(experiment.train.epochs)]
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row, _ in epochs]
    return rows, torch.cat([losses for _, losses in epochs]), fit.state.averaged.state_dict()


def experiments() -> list[Experiment]:
    """Ragged batches, both networks, every average; the last one alone in float32."""
    one_by_one = {"epochs": 1, "batch_size": 1, "precision": "float64"}
    unaveraged = {"epochs": 2, "batch_size": 8, "precision": "float64", "ema_decay": 0.0}
    rounded = {"epochs": 3, "batch_size": 8, "learning_rate": 0.01}
    return [
        experiment_of(),
        experiment_of(model=CONV, objective={"kind": "dreg", "samples": 2}),
        experiment_of(train=one_by_one, objective={"warmup_epochs": 2}),
        experiment_of(train=unaveraged),
        experiment_of(model=LEVELS, data={"binarize": "none"}),
        experiment_of(train=rounded, objective={}),
    ]


class OfRank(NamedTuple):
    """What one of several processes found."""

    trained: list[Any]  # an element per experiment
    stopped: list[Any]  # of each way to train, the last row without times, and the weights
    diverged: tuple[str, bool]


@cache
def of_ranks(world: int) -> list[OfRank]:
    """What each of `world` processes found; to start them takes seconds, so they do everything."""
    return [OfRank(*found) for found in spawned(world, on_rank)]


def on_rank(rank: int, world: int) -> tuple[Any, ...]:
    together = [trained(experiment, Shard(rank, world)) for experiment in experiments()]
    return together, stopping(rank, world), diverging(rank, world)


def diverging(rank: int, world: int) -> tuple[str, bool]:
    """What a rank says when the last one's loss is no number, and whether its weights stayed."""
    experiment = experiment_of()
    fit = Fit(experiment, draw_images(8, SHAPE), draw_images(8, SHAPE, 1), CPU, Shard(rank, world))
    forward = wrap_data_parallel(fit.state.model, CPU)
    before = [parameter.clone() for parameter in fit.state.model.parameters()]
    (batch,) = fit.plan.draw_epoch(fit.train, 0, fit.context.shard)
    if rank == world - 1:
        batch = batch._replace(eps_KBD=batch.eps_KBD * torch.nan)
    try:
        train_step(fit.state, forward, batch, fit.context)
    except DivergedError as error:
        after = fit.state.model.parameters()
        return str(error), all(map(torch.equal, before, after))
    return "trained on", False


def stopping(rank: int, world: int) -> list[Any]:
    """Two epochs: of one tensor, of shards, and resumed on shards between and within epochs.

    Collective. In float32 and with many weights, where another order of the summands shows.
    """
    experiment = experiment_of(model={"hidden": [64]}, train={"epochs": 2, "batch_size": 8})
    images, val, shard = draw_images(30, SHAPE), draw_images(8, SHAPE), Shard(rank, world)
    rows = Rows([part.numpy() for part in torch.split(images, 11)])
    straight, gathered, stopped, resumed, again = (
        Fit(experiment, train, val, CPU, shard, reduce)
        for train in (images, rows, images, rows, rows)
    )
    ended = [(run_epochs(fit, 2), fit) for fit in (straight, gathered)]
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        history = [stop_within(stopped, store)]
        for fit, key in ((again, "within"), (resumed, "between")):
            content = checkpoints.read_latest(store, key)
            assert content
            assert checkpoints.restore(fit.state, content, shard) == history
            ended.append((run_epochs(fit, 1), fit))
    return [
        ({k: v for k, v in row.items() if k not in TIMES}, fit.state.model.state_dict())
        for row, fit in ended
    ]


def run_epochs(fit: Fit, n: int) -> Row:
    """The last one's metrics. Collective."""
    forward = distribute(fit)
    *_, (row, _) = [fit.run_epoch(forward, lambda step: None) for _ in range(n)]
    return row


def stop_within(fit: Fit, store: Store) -> Row:
    """Save after an epoch, and after two of the four steps of the next; the epoch's row.

    Collective. Every rank has a store of its own.
    """
    row = run_epochs(fit, 1)
    checkpoints.save(store, "between", fit.state, [row])

    def stop(step: int) -> None:
        if step == 2:
            sums = fit.capture_sums()
            saved = checkpoints.save(store, "within", fit.state, [row], sums)
            assert saved[:2] == (1, 2)
            raise InterruptedError

    with suppress(InterruptedError):
        fit.run_epoch(distribute(fit), stop)
    return row


def distribute(fit: Fit) -> Forward:
    """The model, under DDP if there are several processes. Collective."""
    model = fit.state.model
    return wrap_data_parallel(model, CPU) if fit.context.shard.world > 1 else model


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 4])
def test_any_number_of_workers_trains_the_same_weights(world: int) -> None:
    """Ragged batches, and ones smaller than the number of workers, give what one process gives.

    In float64 the same weights; in float32, where rounding differs, the bound within 0.02 nats.
    """
    *alone, (rows, *_) = [trained(experiment) for experiment in experiments()]
    for *together, (rounded_rows, *_) in (found.trained for found in of_ranks(world)):
        torch.testing.assert_close(together, alone, rtol=1e-8, atol=1e-12)
        assert rounded_rows[-1]["val/nelbo"] == pytest.approx(rows[-1]["val/nelbo"], abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 4])
def test_a_resumed_training_adds_up_as_the_one_that_was_not_interrupted(world: int) -> None:
    """To the bit, wherever the images lie, as long as the number of workers stays the same."""
    for straight, *others in (found.stopped for found in of_ranks(world)):
        torch.testing.assert_close(others, [straight] * 3, rtol=0, atol=0)


def test_one_process_trains_the_same_bits_wherever_the_images_lie() -> None:
    """In one tensor or gathered from shards, and resumed on the latter, also within an epoch."""
    straight, *others = stopping(0, 1)
    torch.testing.assert_close(others, [straight] * 3, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 4])
def test_divergence_stops_every_rank(world: int) -> None:
    """One rank's bad loss stops all of them at the same step, each with the weights it had."""
    for rank, (message, stayed) in enumerate(found.diverged for found in of_ranks(world)):
        assert f"training diverged at step 0 (epoch 1, rank {rank} of {world})" in message
        assert stayed


def test_rows_of_an_epoch() -> None:
    """A row counts epochs and steps, and its training loss is the mean over the epoch's steps."""
    rows, losses, _ = trained(experiment_of())
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["step"] for row in rows] == [4, 8, 12]
    for row, of_epoch in zip(rows, losses.chunk(3), strict=True):
        assert row["train/loss"] == pytest.approx(of_epoch.mean().item())


def test_the_loss_that_selects() -> None:
    """One sample's bound is the ELBO; more of them are weighed, and only then is it tighter."""
    elbo, weighed = (
        trained(experiment_of(objective={"kind": kind, "samples": 20}))[0]
        for kind in ("elbo", "iwae")
    )
    assert all(row["val/loss"] == row["val/nelbo"] for row in elbo)
    assert all(row["val/loss"] < row["val/nelbo"] for row in weighed)


def test_the_average_is_what_is_validated() -> None:
    """The same updates, another bound: the row speaks of the averaged weights."""
    train = {"epochs": 1, "batch_size": 8, "learning_rate": 0.01}
    raw, averaged = (
        trained(experiment_of(train=train | {"ema_decay": decay})) for decay in (0.0, 0.9)
    )
    assert torch.equal(raw[1], averaged[1])
    assert raw[0][0]["val/loss"] != averaged[0][0]["val/loss"]


def test_bounds_of_levels_are_in_bits_too() -> None:
    """A row tells bits per dimension of 256 levels, and of nothing else."""
    (row, *_), _, _ = trained(experiment_of(model=LEVELS, data={"binarize": "none"}))
    assert row["val/bits_per_dim"] == pytest.approx(row["val/loss"] / (16 * math.log(2)))
    (other, *_), _, _ = trained(experiment_of())
    assert "val/bits_per_dim" not in other


@pytest.mark.parametrize("likelihood", ["logistic", "logistic-mixture", "gaussian"])
def test_learning_lowers_the_bound_of_levels(likelihood: str) -> None:
    """Images of two kinds are told apart, in fewer nats than one picture of both takes."""
    images = draw_images(200, SHAPE, levels=20)
    images[::2, :, :2] += 200
    train = {"epochs": 4, "batch_size": 20, "learning_rate": 0.01}
    model, data = DENSE | {"likelihood": likelihood}, {"binarize": "none"}
    fit = Fit(experiment_of(train=train, model=model, data=data), images, images, CPU)
    before = fit.validate()["nelbo"]
    bounds = [fit.run_epoch(fit.state.model, lambda step: None)[0]["val/nelbo"] for _ in range(4)]
    assert bounds[-1] < before


def test_learning_lowers_the_bound() -> None:
    """A few updates on images of one kind bring the validation bound down."""
    dark = torch.zeros((200, *SHAPE), dtype=torch.uint8)
    dark[:, :, :2] = 200
    train = {"epochs": 4, "batch_size": 20, "learning_rate": 0.01}
    fit = Fit(experiment_of(train=train), dark, dark, CPU)
    before = fit.validate()["nelbo"]
    bounds = [fit.run_epoch(fit.state.model, lambda step: None)[0]["val/nelbo"] for _ in range(4)]
    assert bounds[-1] < before


@pytest.mark.parametrize("binarize", ["dynamic", "none"])
def test_evaluation_images(binarize: str) -> None:
    """Evaluation sees grey levels in [0, 1], or one binarisation named by its own seed."""
    images = draw_images(20, SHAPE)

    def seen(seed: int) -> Tensor:
        data = {"binarize": binarize, "binarize_seed": seed}
        return prepare_inputs(images, experiment_of(data=data).data)[:]

    assert torch.equal(seen(0), seen(0))
    if binarize == "none":
        torch.testing.assert_close(seen(0), images / 255)
    else:
        assert not torch.equal(seen(0), seen(1))
        assert set(seen(0).flatten().tolist()) == {0, 1}
