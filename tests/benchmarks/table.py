"""Contenders timed in turns within one run, so that ratios hold on a noisy machine."""

import statistics
import time
from collections.abc import Callable, Mapping


def medians(
    contenders: Mapping[str, Callable[[], object]],
    repeats: int = 5,
    wait: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Median seconds of each contender over `repeats` rounds; a round runs each of them once.

    One round more goes first, untimed, to fill caches and allocators. `wait` ends each turn, and
    returns once a device has done what the contender has left to it.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 1):
        for name, work in contenders.items():
            began = time.perf_counter()
            work()
            wait()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def lines(columns: list[str], rows: list[list[object]]) -> str:
    """A Markdown table; numbers with three significant digits."""
    cells = [[f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in r] for r in rows]
    return "\n".join(
        f"| {' | '.join(line)} |" for line in [columns, ["---"] * len(columns), *cells]
    )
