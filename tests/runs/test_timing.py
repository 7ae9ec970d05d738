"""Where time went: overlapping spans count once."""

from hypothesis import given
from hypothesis import strategies as st

from vae.runs.timing import format_split, measure_covered_s

seconds = st.integers(0, 60)
spans = st.lists(st.tuples(seconds, seconds).map(lambda span: (min(span), max(span))))


@given(spans)
def test_covered_is_every_second_once(given_spans: list[tuple[int, int]]) -> None:
    """Covered time is the number of whole seconds that lie in at least one span."""
    inside = {second for began, ended in given_spans for second in range(began, ended)}
    assert measure_covered_s(given_spans) == len(inside)


@given(spans, spans)
def test_order_and_repetition_do_not_matter(
    some: list[tuple[int, int]], more: list[tuple[int, int]]
) -> None:
    """Covered time is a property of the set of spans, and never shrinks with more of them."""
    assert measure_covered_s(some + more) == measure_covered_s(more + some + more)
    assert (
        measure_covered_s(some)
        <= measure_covered_s(some + more)
        <= measure_covered_s(some) + measure_covered_s(more)
    )


def test_nothing_covered() -> None:
    """No spans cover no time."""
    assert measure_covered_s([]) == 0


def test_the_line_adds_up() -> None:
    """All time is computing, by stage, or orchestration; idle stages are left out, even all."""
    computed = {"data": 0.0, "search": 10.0, "train": 5.5}
    stages = {name: {"compute_s": compute_s} for name, compute_s in computed.items()}
    computing = "15.5 s training and evaluating (search 10.0, train 5.5)"
    assert format_split(stages, 20) == f"20.0 s in all: {computing}, 4.5 s orchestration"
    assert "(nothing), 3.0 s orchestration" in format_split({"data": {"compute_s": 0.0}}, 3)
