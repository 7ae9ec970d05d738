"""Charts as plain data: what lies where on a picture, and what each mark says.

The template draws them as SVG in the page's colours; the page's script reads the marks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeGuard

WIDTH, HEIGHT = 340, 220  # of most charts: legible at their own size on a phone
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 36
LETTER, GAP = 7, 8  # pixels of a letter at most, and between a label and its axis
Row = Mapping[str, float | None]


class Tick(NamedTuple):
    """A value named beside an axis."""

    at: float
    text: str


class Dot(NamedTuple):
    """A mark; `style` is its class in the page, `image` the one it stands for, from 0."""

    x: float
    y: float
    text: str
    style: str
    image: int | None = None


class Bar(NamedTuple):
    """A bar on the axis below."""

    x: float
    y: float
    width: float
    height: float
    text: str
    style: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line through points, each of which says something; `style` is its class in the page."""

    name: str
    style: str
    points: list[tuple[float, float]]
    texts: list[str]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One picture with its axes; coordinates are in its own pixels, y downwards."""

    title: str
    label: str  # what a screen reader says
    width: float = WIDTH
    height: float = HEIGHT
    x_title: str = ""
    x_ticks: list[Tick] = field(default_factory=list)
    y_ticks: list[Tick] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    legend: Mapping[str, str] = field(default_factory=dict)  # what a style stands for
    names: list[tuple[float, float, str]] = field(default_factory=list)  # written on the picture
    axes: list[tuple[float, list[Tick]]] = field(default_factory=list)  # upright ones, at their x
    frame: tuple[int, int, int, int] = (LEFT, RIGHT, TOP, BOTTOM)


class Scale(NamedTuple):
    """Values from `low` to `high` along an axis from `start` to `end` pixels."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Where a value lies."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(self.start + share * (self.end - self.start), 1)

    def list_ticks(self, at_most: int = 5) -> list[Tick]:
        """Round values inside, and where they lie."""
        values = choose_ticks(self.low, self.high, at_most)
        return [Tick(self.place(value), f"{value:.5g}") for value in values]


def find_left(ticks: Sequence[Tick]) -> int:
    """The room left of an axis that its labels need."""
    return max([LEFT, *(LETTER * len(tick.text) + GAP for tick in ticks)])


def is_finite(value: float | None) -> TypeGuard[float]:
    """Whether a metric was measured at all, and as a number."""
    return value is not None and math.isfinite(value)


def choose_ticks(low: float, high: float, at_most: int) -> list[float]:
    """At most so many multiples of 1, 2 or 5 times a power of ten from `low` to `high`.

    Where there is no such multiple, `low` alone.
    """
    if not high > low:
        return [low]
    rough = (high - low) / at_most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10, 20) if m * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    found = [i * step for i in range(first, last + 1)]
    return (found if len(found) <= at_most else found[::2]) or [low]


def draw_lines(
    title: str, series: Mapping[str, Sequence[tuple[float, float]]], x_title: str, styles: list[str]
) -> Chart:
    """Lines by name through (x, y), of which those that are not finite are left out."""
    kept = {name: [p for p in points if is_finite(p[1])] for name, points in series.items()}
    every = [point for points in kept.values() for point in points] or [(0.0, 0.0)]
    (x_low, x_high), (y_low, y_high) = (find_range([p[i] for p in every]) for i in (0, 1))
    y = Scale(y_low, y_high, HEIGHT - BOTTOM, TOP)
    left = find_left(y.list_ticks())
    x = Scale(x_low, x_high, left, WIDTH - RIGHT)
    lines = [
        Line(
            name=name,
            style=style,
            points=[(x.place(a), y.place(b)) for a, b in points],
            texts=[f"{x_title} {a:g}, {name}: {b:.6g}" for a, b in points],
        )
        for (name, points), style in zip(kept.items(), styles, strict=False)
    ]
    said = [f"{name} {points[-1][1]:.5g} at the end" for name, points in kept.items() if points]
    return Chart(
        title=title,
        label=f"{title} over {x_title}: {'; '.join(said) or 'nothing yet'}",
        x_title=x_title,
        x_ticks=[tick for tick in x.list_ticks() if "." not in tick.text],
        y_ticks=y.list_ticks(),
        lines=lines,
        frame=(left, RIGHT, TOP, BOTTOM),
    )


def find_range(values: Sequence[float]) -> tuple[float, float]:
    """The lowest and the highest."""
    return min(values), max(values)


def draw_training(history: Sequence[Row]) -> list[Chart]:
    """A chart of both losses, then one of every other metric and of the images a second."""
    charts = []
    for title, names in arrange_panels(history).items():
        series = {name: select_points(history, name) for name in names}
        chart = draw_lines(title, series, "epoch", ["blue", "orange"])
        legend = {line.style: line.name for line in chart.lines} if len(names) > 1 else {}
        charts.append(replace(chart, legend=legend))
    return charts


def select_points(history: Sequence[Row], name: str) -> list[tuple[float, float]]:
    """A metric over the epochs in which it was measured."""
    rows = ((row["epoch"], row.get(name)) for row in history)
    return [(epoch, value) for epoch, value in rows if epoch is not None and value is not None]


def arrange_panels(history: Sequence[Row]) -> dict[str, list[str]]:
    """The metrics of each panel, by its title: both losses first, then the others as they come."""
    names = dict.fromkeys(name for row in history for name in row if "/" in name)
    panels = {"loss (nats per image)": ["val/loss", "train/loss"]}
    for name in names:
        if not name.endswith("/loss"):
            panels[name.partition("/")[2].replace("_", " ")] = [name]
    if any("images_per_s" in row for row in history):
        panels["images per second"] = ["images_per_s"]
    return panels


def draw_bars(title: str, x_title: str, values: Sequence[tuple[str, float, str]]) -> Chart:
    """Bars side by side, as (what it says, value, style); what is not finite is the highest."""
    high = max((value for _, value, _ in values if is_finite(value)), default=0.0)
    y = Scale(0.0, high or 1.0, HEIGHT - BOTTOM, TOP)
    left = find_left(y.list_ticks())
    slot = (WIDTH - left - RIGHT) / max(1, len(values))
    bars = []
    for i, (text, value, style) in enumerate(values):
        top = y.place(max(0.0, value) if is_finite(value) else high)
        x, height = left + i * slot, HEIGHT - BOTTOM - top
        bars.append(Bar(round(x, 2), top, round(0.8 * slot, 2), round(height, 1), text, style))
    return Chart(
        title=title,
        label=f"{title}: {len(values)} bars from {high:.3g} down",
        x_title=x_title,
        y_ticks=y.list_ticks(),
        bars=bars,
        frame=(left, RIGHT, TOP, BOTTOM),
    )
