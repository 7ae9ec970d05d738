"""Training: its schedule, one step, and how it stops when the loss is no number any more."""

import math
import platform
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vae.data.placement import Resident
from vae.experiments.settings import ModelConfig, ObjectiveConfig, TrainConfig
from vae.models.networks import DTYPES, build_model
from vae.training.batches import Batch, BatchPlan, Shard
from vae.training.step import (
    DivergedError,
    StepContext,
    TrainState,
    create_state,
    is_emulated,
    train_epoch,
    train_step,
)

SHAPE = (1, 4, 4)
CPU = torch.device("cpu")


def state_of(config: TrainConfig) -> TrainState:
    return create_state(build_model(ModelConfig(latent_dim=3, hidden=(8,)), SHAPE), config, CPU)


def batches_of(config: TrainConfig, n: int = 30) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n, *SHAPE), dtype=torch.uint8, generator=generator)
    plan = BatchPlan(
        seed=0,
        batch_size=config.batch_size,
        samples=1,
        latent_dim=3,
        binarize=True,
        dtype=DTYPES[config.precision],
    )
    return list(plan.draw_epoch(Resident(images), 0, Shard()))


def context_of(config: TrainConfig, shard: Shard = Shard(), steps: int = 4) -> StepContext:
    return StepContext(config, ObjectiveConfig(), steps, shard)


def weights(state: TrainState) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in state.model.parameters()])


def test_the_schedule_ends() -> None:
    """Cosine goes from the peak through its half to 0 after the last step; constant stays."""
    context = context_of(TrainConfig(schedule="cosine", epochs=10), steps=10)
    rates = [context.learning_rate_at(step) for step in (0, 50, 100)]
    assert rates == pytest.approx([1e-3, 5e-4, 0], abs=1e-12)
    constant = context_of(TrainConfig())
    assert {constant.learning_rate_at(step) for step in (0, 50, 99)} == {1e-3}


@given(total=st.integers(1, 100_000), data=st.data())
def test_every_update_moves(total: int, data: st.DataObject) -> None:
    """No update has a rate of 0 or above the peak, and none is larger than the one before."""
    context = context_of(TrainConfig(schedule="cosine", epochs=1), steps=total)
    step = data.draw(st.integers(0, total - 1))
    rate = context.learning_rate_at(step)
    assert 0 < rate <= context.train.learning_rate
    assert context.learning_rate_at(step + 1) <= rate


def test_an_epoch_makes_its_steps() -> None:
    """Every batch is one update under the scheduled rate, told to `on_step` and counted."""
    config = TrainConfig(epochs=2, batch_size=8, schedule="cosine")
    state, steps = state_of(config), list[int]()
    batches = batches_of(config)
    context = context_of(config)
    losses = train_epoch(state, state.model, batches, context, on_step=steps.append)
    assert steps == [1, 2, 3, 4]
    assert (state.epoch, state.step) == (1, 4)
    assert losses.shape == (4,)
    assert losses.dtype == torch.float64
    (group,) = state.optimizer.param_groups
    assert group["lr"] == context.learning_rate_at(3)


def test_the_shards_losses_add_up() -> None:
    """The parts that the ranks report are, in sum, the mean loss of the global batch."""
    config = TrainConfig(batch_size=30, precision="float64")
    (whole,) = batches_of(config)

    def loss(part: slice, shard: Shard) -> float:
        state, batch = state_of(config), Batch(whole.x_BCHW[part], whole.eps_KBD[:, part], 30)
        return float(train_step(state, state.model, batch, context_of(config, shard)))

    parts = [loss(Shard(rank, 4).select(30), Shard(rank, 4)) for rank in range(4)]
    assert sum(parts) == pytest.approx(loss(slice(None), Shard()))


def test_a_gradient_is_cut_to_its_norm() -> None:
    """Clipping leaves a smaller gradient alone and shortens a larger one to the limit."""

    def first_moment(grad_clip: float) -> float:
        config = TrainConfig(batch_size=30, grad_clip=grad_clip, precision="float64")
        state, (whole,) = state_of(config), batches_of(config)
        train_step(state, state.model, whole, context_of(config))
        moments = [entry["exp_avg"].flatten() for entry in state.optimizer.state.values()]
        return float(torch.cat(moments).norm()) / 0.1  # of the first step: 1 - beta1

    free = first_moment(0)
    assert first_moment(2 * free) == pytest.approx(free)
    assert first_moment(free / 4) == pytest.approx(free / 4, rel=1e-4)


@pytest.mark.parametrize("decay", [0.15, 0.9])
def test_the_average_of_the_weights(decay: float) -> None:
    """Each update moves it by 1 - decay of what lies between, over the first ones by more."""
    config = TrainConfig(batch_size=8, learning_rate=0.1, precision="float64", ema_decay=decay)
    state = state_of(config)
    expected = weights(state)

    def on_step(made: int) -> None:
        nonlocal expected
        kept = min(decay, (1 + made) / (10 + made))  # 2/11, 3/12, 4/13, 5/14
        expected = kept * expected + (1 - kept) * weights(state)

    batches = batches_of(config)
    train_epoch(state, state.model, batches, context_of(config), on_step=on_step)
    averaged = torch.nn.utils.parameters_to_vector(state.averaged.parameters())
    torch.testing.assert_close(averaged, expected)
    assert not torch.allclose(averaged, weights(state))


def test_bfloat16_keeps_its_sums_in_float32() -> None:
    """Autocast halves the products alone: weights and losses are float32, close to exact ones."""
    losses = {}
    for config in (TrainConfig(batch_size=30), TrainConfig(batch_size=30, precision="bfloat16")):
        state, (whole,) = state_of(config), batches_of(config)
        loss = train_step(state, state.model, whole, context_of(config))
        assert weights(state).dtype == loss.dtype == torch.float32
        losses[config.precision] = loss.item()
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)


@pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="names other flags"
)
def test_emulated_products() -> None:
    """bfloat16 is emulated where the kernel lists no instructions for it; float32 never is."""
    flags = Path("/proc/cpuinfo").read_text().split()
    assert is_emulated(TrainConfig(precision="bfloat16"), CPU) == ("avx512_bf16" not in flags)
    assert not is_emulated(TrainConfig(), CPU)
    assert not is_emulated(TrainConfig(precision="bfloat16"), torch.device("cuda"))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_divergence_stops_before_the_update(bad: float) -> None:
    """A loss that is no number raises, and leaves the weights of the last good step."""
    config = TrainConfig(batch_size=8, learning_rate=0.5)
    state, (good, other, *_) = state_of(config), batches_of(config)
    train_step(state, state.model, good, context_of(config, Shard(1, 2)))
    before = weights(state)
    broken = Batch(other.x_BCHW, other.eps_KBD * bad, other.global_size)
    with pytest.raises(DivergedError) as raised:
        train_step(state, state.model, broken, context_of(config, Shard(1, 2)))
    assert torch.equal(weights(state), before)
    assert state.step == 1
    message = str(raised.value)
    assert "step 1 (epoch 1, rank 1 of 2)" in message
    assert "train.learning_rate = 0.5 is too high, try 0.2" in message
    assert "\n" not in message


def test_divergence_of_the_loss_alone() -> None:
    """A loss that is no number stops the update even where the gradient is one."""
    config = TrainConfig(batch_size=8)
    state, (batch, *_) = state_of(config), batches_of(config)
    *_, bias = state.model.decoder.parameters()
    torch.nn.init.constant_(bias, math.inf)  # logits of which x - sigmoid is 0 or -1
    before = weights(state)
    with pytest.raises(DivergedError, match="loss nan nats"):
        train_step(state, state.model, batch, context_of(config))
    assert torch.equal(weights(state), before)


def test_a_rate_that_is_too_high() -> None:
    """Training itself, under an absurd rate, ends in that error and not in silence."""
    config = TrainConfig(batch_size=8, learning_rate=1e15)
    state = state_of(config)
    with pytest.raises(DivergedError, match=r"train.learning_rate = 1e\+15"):
        train_epoch(state, state.model, batches_of(config), context_of(config))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"grad_clip": -1.0}, "grad_clip is -1.0"),
        ({"grad_clip": math.nan}, "grad_clip is nan"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
        ({"ema_decay": -0.1}, "ema_decay is -0.1"),
        ({"ema_decay": math.nan}, "ema_decay is nan"),
    ],
)
def test_impossible_training(settings: dict[str, float], message: str) -> None:
    """Settings that could never train are refused by name."""
    with pytest.raises(ValueError, match=message):
        TrainConfig(**settings)  # type: ignore[arg-type]
