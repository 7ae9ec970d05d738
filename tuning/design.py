"""Candidates that are known before the first is tried: at random, Sobol's, or points of a grid."""

import math
import random
from collections.abc import Mapping, Sequence

from torch import float64
from torch.quasirandom import SobolEngine

from vae.experiments.search import Range, SearchConfig
from vae.experiments.settings import Value

Candidate = dict[str, Value]  # the value of each setting that varies


def design_candidates(config: SearchConfig, seed: int) -> list[Candidate]:
    """The candidates of all trials, in order; a search of more trials begins with the same."""
    if config.sampler == "grid":
        return draw_grid(config.space, seed, config.trials)
    draw = draw_sobol if config.sampler == "sobol" else draw_random
    names = sorted(config.space)
    points = draw(len(names), seed, config.trials)
    return [
        config.drop_unused(
            {name: scale(config.space[name], at) for name, at in zip(names, point, strict=True)}
        )
        for point in points
    ]


def draw_random(dimensions: int, seed: int, count: int) -> Sequence[Sequence[float]]:
    """Points of the unit cube, each on its own."""
    generator = random.Random(seed)
    return [[generator.random() for _ in range(dimensions)] for _ in range(count)]


def draw_sobol(dimensions: int, seed: int, count: int) -> Sequence[Sequence[float]]:
    """Points of the unit cube that fill it evenly: Sobol's sequence, scrambled by the seed."""
    engine = SobolEngine(dimensions, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    points: list[list[float]] = engine.draw(count, dtype=float64).tolist()
    return points


def draw_grid(space: Mapping[str, Range], seed: int, count: int) -> list[Candidate]:
    """Points of the grid, none twice; `count` is at most their number."""
    size = math.prod(len(values.grid) for values in space.values())
    generator, drawn = random.Random(seed), dict[int, None]()
    while len(drawn) < count:  # the points may be too many to list and shuffle
        drawn[generator.randrange(size)] = None
    return [locate_point(space, index) for index in drawn]


def locate_point(space: Mapping[str, Range], index: int) -> Candidate:
    """The point of the grid with this index."""
    point: Candidate = {}
    for name in sorted(space):
        index, place = divmod(index, len(space[name].grid))
        point[name] = space[name].grid[place]
    return point


def scale(values: Range, at: float) -> Value:
    """The value at a quantile from 0 to 1, 1 excluded, of what a setting may be."""
    if values.choice:
        return values.choice[int(at * len(values.choice))]
    low, high = values.low, values.high
    if isinstance(low, int) and isinstance(high, int):  # each has an equal share, or one in logs
        return min(high, math.floor(interpolate(low - 0.5, high + 0.5, at, values.log) + 0.5))
    return min(high, max(low, interpolate(low, high, at, values.log)))


def interpolate(low: float, high: float, at: float, log: bool) -> float:
    """The point between two ends, by their logarithms if asked for."""
    if log:
        return math.exp(interpolate(math.log(low), math.log(high), at, log=False))
    return low + at * (high - low)
