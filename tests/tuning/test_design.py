"""Candidates that are known beforehand: where they lie, and how evenly."""

import math
from collections import Counter
from itertools import product

import pytest

from tests.support.refusals import catch_refusal
from tuning.design import design_candidates, scale
from vae.experiments.loading import load_experiment
from vae.experiments.search import Range, SearchConfig
from vae.experiments.settings import Overrides

CHOICE = Range(choice=(4, 8, 16))
WHOLE = Range(low=1, high=4)


def test_a_quantile_is_scaled_to_the_range() -> None:
    """In logs, the middle of a range is the geometric mean; whole numbers have equal shares."""
    assert scale(Range(low=1e-4, high=1e-2, log=True), 0.5) == pytest.approx(1e-3)
    assert scale(Range(low=-1.0, high=3.0), 0.75) == 2.0
    assert [scale(WHOLE, at) for at in (0, 0.249, 0.25, 0.5, 0.75, 1 - 1e-16)] == [1, 1, 2, 3, 4, 4]
    assert [scale(CHOICE, at) for at in (0, 0.4, 0.999)] == [4, 8, 16]
    logs = Range(low=1, high=8, log=True)
    cuts = [math.log((k + 0.5) / 0.5, 17) for k in range(8)]  # where k ends and k + 1 begins
    for k, cut in enumerate(cuts[1:], start=1):
        assert (scale(logs, cut - 1e-9), scale(logs, min(cut + 1e-9, 1 - 1e-9))) == (
            k,
            min(k + 1, 8),
        )


def test_a_grid_is_tried_point_by_point() -> None:
    """All of it, none twice, and not in the order of the grid."""
    space = {"model.latent_dim": CHOICE, "train.batch_size": WHOLE}
    drawn = design_candidates(SearchConfig(trials=12, sampler="grid", space=space), 0)
    points = [(one["model.latent_dim"], one["train.batch_size"]) for one in drawn]
    assert sorted(points) == list(product((4, 8, 16), range(1, 5)))
    assert points != sorted(points)


def test_a_huge_grid_is_not_listed() -> None:
    """A few of 10^12 points."""
    space = {f"setting.{i}": Range(low=1, high=1000) for i in range(4)}
    config = SearchConfig(trials=3, sampler="grid", space=space)
    assert len({tuple(one.values()) for one in design_candidates(config, 0)}) == 3
    whole = {"seed": Range(low=0, high=2**64)}  # more than a len() can be
    assert SearchConfig(trials=3, sampler="grid", space=whole).grid_size == 2**64 + 1


@pytest.mark.parametrize("seed", range(4))
def test_sobol_fills_a_space_evenly(seed: int) -> None:
    """Each sixteenth of each setting's range has one of 16 candidates, each quarter of both one."""
    space = {"a": Range(low=0.0, high=1.0), "b": Range(low=0.0, high=1.0)}
    drawn = design_candidates(SearchConfig(trials=16, sampler="sobol", space=space), seed)
    points = [(float(str(one["a"])), float(str(one["b"]))) for one in drawn]
    assert sorted(int(16 * a) for a, _ in points) == list(range(16))
    assert sorted(int(16 * b) for _, b in points) == list(range(16))
    assert set(Counter((int(4 * a), int(4 * b)) for a, b in points).values()) == {1}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"search.trials": 7}, "trials is 7, but the grid has 6 points"),
        (
            {"search.space": {"train.learning_rate": {"low": 1e-3, "high": 1e-2}}},
            "sampler is 'grid', but train.learning_rate is a range of numbers that are not whole",
        ),
        (
            {
                "search.space": {
                    "model.latent_dim": {"choice": [4, 8]},
                    "train.batch_size": {"choice": [50, 60], "when": {"model.latent_dim": [4]}},
                }
            },
            "sampler is 'grid', but train.batch_size has a condition: take another sampler",
        ),
    ],
)
def test_a_grid_that_can_not_be_is_refused(changes: Overrides, told: str) -> None:
    """Before anything begins: no trial is tried twice, and none invented."""
    grid: Overrides = {
        "search.sampler": "grid",
        "search.space": {
            "model.latent_dim": {"low": 1, "high": 3},
            "model.activation": {"choice": ["relu", "silu"]},
        },
    }
    assert told in catch_refusal(load_experiment, "tiny", {**grid, **changes})


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ({"model.kind": ["ConvVAE"]}, "varies by model.kind, which must vary as well"),
        ({"model.latent_dim": [4, 5]}, "varies when model.latent_dim is [4, 5]: must be some of"),
        ({"model.latent_dim": []}, "varies when model.latent_dim is []: must be some of"),
    ],
)
def test_a_condition_that_can_not_hold_is_refused(when: object, told: str) -> None:
    """It must be on settings that vary in any case, and on values that they may have."""
    space = {
        "model.latent_dim": {"choice": [4, 8]},
        "train.grad_clip": {"low": 1.0, "high": 5.0, "when": when},
    }
    assert f"train.grad_clip {told}" in catch_refusal(
        load_experiment, "tiny", {"search.space": space}
    )
