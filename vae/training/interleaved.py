"""Trainings in one process, a step of each in turn: on a GPU each on a stream of its own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import cast

import torch

from vae.training.fit import Fit, Row

Outcome = Row | Exception  # what an epoch of a training came to


def train_interleaved(fits: Sequence[Fit]) -> list[Outcome]:
    """Train an epoch of each, in one process: its metrics, or what it raised, which ends it alone.

    The bits are those that each would train by itself.
    """
    outcomes: dict[int, Outcome] = {}
    epochs = [fit.iterate_epoch() for fit in fits]
    with open_streams(fits[0].state.model.device, len(fits)) as streams:
        while left := [turn for turn in range(len(fits)) if turn not in outcomes]:
            for turn in left:
                try:
                    with torch.cuda.stream(streams[turn]):
                        next(epochs[turn])
                except StopIteration as end:
                    outcomes[turn] = cast(Row, end.value)
                except Exception as error:
                    outcomes[turn] = error
    return [outcomes[turn] for turn in range(len(fits))]


@contextmanager
def open_streams(device: torch.device, count: int) -> Iterator[list[torch.cuda.Stream | None]]:
    """A context with so many of a GPU's streams, which begin after all that it was given before.

    And end before what it is given then. A CPU has none.
    """
    if device.type != "cuda":
        yield [None] * count
        return
    torch.cuda.synchronize(device)
    yield [get_stream(device, turn) for turn in range(count)]
    torch.cuda.synchronize(device)


@cache
def get_stream(device: torch.device, turn: int) -> torch.cuda.Stream:
    """Always the same: memory that one stream has freed is of no use to another."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
