"""Where the time of a run went: training and evaluation steps, and everything around them."""

from collections.abc import Iterable, Mapping

Span = tuple[float, float]  # seconds since the epoch: when a computation began and ended


def measure_covered_s(spans: Iterable[Span]) -> float:
    """Seconds in which at least one of the spans was running; overlaps count once."""
    total, reached = 0.0, float("-inf")
    for began, ended in sorted(spans):
        total += max(0.0, ended - max(began, reached))
        reached = max(reached, ended)
    return total


def format_split(stages: Mapping[str, Mapping[str, float]], total_s: float) -> str:
    """One line: all seconds, those spent computing by stage, and the rest, orchestration."""
    computing = {name: times["compute_s"] for name, times in stages.items() if times["compute_s"]}
    compute_s = sum(computing.values())
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in computing.items()) or "nothing"
    return (
        f"{total_s:.1f} s in all: {compute_s:.1f} s training and evaluating ({parts}), "
        f"{total_s - compute_s:.1f} s orchestration"
    )
