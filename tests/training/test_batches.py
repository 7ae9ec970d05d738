"""Batches: every image once, chance where it belongs, the same draws for any number of workers."""

import math
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.support.devices import DEVICES
from tests.support.images import draw_images
from vae.data.binarization import BLOCK_IMAGES, Binarized, draw_thresholds
from vae.data.placement import Gathered, Resident
from vae.data.rows import Rows
from vae.models.seeds import derive_seed, draw_permutation
from vae.training.batches import Batch, BatchPlan, Shard

SHAPE = (1, 2, 3)


LEVELS = (0, 1, 64, 128, 254, 255)


def plan_of(
    batch_size: int, *, binarize: bool = True, seed: int = 0, samples: int = 2
) -> BatchPlan:
    return BatchPlan(
        seed=seed, batch_size=batch_size, samples=samples, latent_dim=3, binarize=binarize
    )


def joined(plan: BatchPlan, images: Tensor, world: int, epoch: int = 0) -> list[Batch]:
    """The global batches of an epoch, put together from the parts of all ranks."""
    placed = Resident(images)
    ranks = [plan.draw_epoch(placed, epoch, Shard(rank, world)) for rank in range(world)]
    return [
        Batch(
            torch.cat([part.x_BCHW for part in parts]),
            torch.cat([part.eps_KBD for part in parts], dim=1),
            parts[0].global_size,
        )
        for parts in zip(*ranks, strict=True)
    ]


@given(n=st.integers(0, 1000), world=st.integers(1, 40))
def test_shards_are_disjoint_and_complete(n: int, world: int) -> None:
    """The parts of all ranks, in order, are all of the items, and differ by one in size at most."""
    parts = [range(n)[Shard(rank, world).select(n)] for rank in range(world)]
    assert [item for part in parts for item in part] == list(range(n))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@given(
    n=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    world=st.integers(1, 5),
    epoch=st.integers(0),
)
def test_every_image_once_per_epoch(n: int, batch_size: int, world: int, epoch: int) -> None:
    """Any batch size and world size show every image once, in batches as full as can be."""
    images = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1)
    plan = plan_of(batch_size, binarize=False)
    batches = joined(plan, images, world, epoch)
    assert len(batches) == plan.count_steps(n) == math.ceil(n / batch_size)
    seen = [(batch.x_BCHW.flatten() * 255).round().int().tolist() for batch in batches]
    assert sorted(index for part in seen for index in part) == list(range(n))
    sizes = [batch.global_size for batch in batches]
    assert sizes == [len(part) for part in seen]
    assert all(size == batch_size for size in sizes[:-1])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("binarize", [True, False])
@pytest.mark.parametrize("world", [2, 3, 4, 7])
def test_the_same_draws_for_any_world(world: int, binarize: bool, device: str) -> None:
    """Shards put together hold exactly the pixels and the noise of one worker, also when ragged."""
    plan, images = plan_of(8, binarize=binarize), draw_images(30, SHAPE).to(device)
    for alone, together in zip(joined(plan, images, 1), joined(plan, images, world), strict=True):
        assert torch.equal(together.x_BCHW, alone.x_BCHW)
        assert torch.equal(together.eps_KBD, alone.eps_KBD)
        assert together.global_size == alone.global_size


@pytest.mark.parametrize("device", DEVICES)
def test_draws_are_keyed_by_their_place(device: str) -> None:
    """The same epoch is drawn the same again; another step, epoch or seed is drawn anew."""
    images = torch.full((12, 1, 2, 3), 128, dtype=torch.uint8, device=device)  # in any order
    first, second = joined(plan_of(6), images, 1)
    again, _ = joined(plan_of(6), images, 1)
    later, _ = joined(plan_of(6), images, 1, epoch=1)
    other, _ = joined(plan_of(6, seed=1), images, 1)
    assert torch.equal(first.eps_KBD, again.eps_KBD)
    assert torch.equal(first.x_BCHW, again.x_BCHW)
    for anew in (second, later, other):
        assert not torch.equal(first.eps_KBD, anew.eps_KBD)
        assert not torch.equal(first.x_BCHW, anew.x_BCHW)
    orders = {
        tuple(draw_permutation(12, seed, epoch).tolist()) for seed in (0, 1) for epoch in (0, 1)
    }
    assert len(orders) == 4


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("level", LEVELS)
def test_binarised_with_the_pixels_probability(level: int, device: str) -> None:
    """A pixel is on with p = level / 255, so always for 255 and never for 0."""
    n = 40_000
    images = torch.full((n, 1, 1, 1), level, dtype=torch.uint8, device=device)
    probability = level / 255
    tolerance = 5 * math.sqrt(probability * (1 - probability) / n)
    (batch,) = joined(plan_of(n, samples=1), images, 1)
    for x_NCHW in (batch.x_BCHW, Binarized(images, seed=0)[:]):
        assert set(x_NCHW.flatten().tolist()) <= {0, 1}
        assert abs(x_NCHW.double().mean().item() - probability) <= tolerance


def test_the_one_binarisation_of_evaluation() -> None:
    """The recorded seed names the same images every time, and another seed others."""
    images = draw_images(50, SHAPE)
    first, again, other = (Binarized(images, seed)[:] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.uint8


@pytest.mark.parametrize("shape", [(1, 2, 3), (3, 5, 7)])
def test_chunks_of_the_one_binarisation_are_those_of_the_whole(shape: tuple[int, int, int]) -> None:
    """Drawn at once as by chunks of any size, across blocks and where an image ends in a word."""
    images = draw_images(2 * BLOCK_IMAGES + 77, shape)
    generator = torch.Generator().manual_seed(derive_seed(3, "binarize"))
    whole = (images > draw_thresholds(images, len(images), generator)).to(torch.uint8)
    binarized = Binarized(images, 3)
    assert torch.equal(binarized[:], whole)
    for start, stop in ((0, 1), (250, 500), (995, 1013), (999, 2077), (1990, 2100)):
        assert torch.equal(binarized[start:stop], whole[start:stop])


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize("device", DEVICES)
def test_batches_do_not_depend_on_where_rows_lie(device: str, world: int) -> None:
    """Gathered from shards of any size, ahead of the steps, they are those of one tensor."""
    plan, images = plan_of(8), draw_images(70, SHAPE)
    rows = Rows([part.numpy() for part in torch.split(images, [33, 1, 36])])
    for rank in range(world):
        shard = Shard(rank, world)
        resident = plan.draw_epoch(Resident(images.to(device)), 1, shard)
        gathered = plan.draw_epoch(Gathered(rows, torch.device(device)), 1, shard)
        for one, other in zip(resident, gathered, strict=True):
            assert torch.equal(one.x_BCHW, other.x_BCHW)
            assert torch.equal(one.eps_KBD, other.eps_KBD)
            assert other.x_BCHW.device == one.x_BCHW.device


def test_an_epoch_that_is_broken_off_leaves_no_thread() -> None:
    """Whoever stops taking batches stops those who gather them."""
    images, before = draw_images(400, SHAPE), threading.active_count()
    rows = Rows([part.numpy() for part in torch.split(images, 200)])
    batches = plan_of(4).draw_epoch(Gathered(rows, torch.device("cpu")), 0, Shard())
    next(batches)
    assert threading.active_count() > before
    del batches
    assert threading.active_count() == before


def test_noise_is_standard_normal() -> None:
    """Posterior noise has mean 0 and variance 1, for every sample, in the plan's type."""
    plan = BatchPlan(
        seed=0, batch_size=20_000, samples=2, latent_dim=3, binarize=True, dtype=torch.float64
    )
    (batch,) = joined(plan, torch.zeros(20_000, 1, 1, 1, dtype=torch.uint8), 1)
    assert batch.eps_KBD.dtype == batch.x_BCHW.dtype == torch.float64
    assert batch.eps_KBD.mean(1).abs().max() < 5 / math.sqrt(20_000)
    assert (batch.eps_KBD.var(1) - 1).abs().max() < 5 * math.sqrt(2 / 20_000)
    assert not torch.equal(batch.eps_KBD[0], batch.eps_KBD[1])


@given(
    keys=st.lists(
        st.tuples(st.integers(), st.sampled_from(["order", "noise"]), st.integers(0)),
        unique=True,
        min_size=2,
    )
)
def test_seeds_differ(keys: list[tuple[int, str, int]]) -> None:
    """Different keys give different seeds, all of which a generator takes."""
    seeds = [derive_seed(seed, purpose, epoch) for seed, purpose, epoch in keys]
    assert len(set(seeds)) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)
