"""Adam on a CPU: the bits of torch's own."""

from collections.abc import Callable, Iterable
from functools import partial

import pytest
import torch
from torch import Tensor

from vae.training.adam import make_adam

CPU = torch.device("cpu")
SHAPES = ((33, 17), (17,), (5, 3, 4, 4), (1,))  # none fills the kernel's vectors
Make = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Adam]
FUSED: Make = partial(torch.optim.Adam, lr=0.01, fused=True)
OURS: Make = partial(make_adam, learning_rate=0.01, device=CPU)


def draw_weights() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def update(optimizer: torch.optim.Adam, steps: range) -> None:
    """Make these updates, each with another rate; in the first, the last weight has no gradient."""
    (options,) = optimizer.param_groups
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for weight in options["params"]:
            weight.grad = torch.randn(weight.shape, generator=generator)
        if step == 0:
            options["params"][-1].grad = None
        options["lr"] = 0.01 / (1 + step)
        optimizer.step()


def read(optimizer: torch.optim.Adam) -> list[Tensor]:
    """All weights, then all moments and numbers of updates."""
    (options,) = optimizer.param_groups
    moments = optimizer.state_dict()["state"].values()
    return [*options["params"], *(each[key] for each in moments for key in sorted(each))]


@pytest.mark.parametrize("begun", [0, 4])
def test_the_bits_of_torchs_own(begun: int) -> None:
    """Weights and moments after ten updates, of which torch's own may have made the first."""
    theirs, weights = FUSED(draw_weights()), draw_weights()
    update(theirs, range(10))
    before, ours = FUSED(weights), OURS(weights)
    update(before, range(begun))
    ours.load_state_dict(before.state_dict())
    update(ours, range(begun, 10))
    for mine, other in zip(read(ours), read(theirs), strict=True):
        assert torch.equal(mine, other)
