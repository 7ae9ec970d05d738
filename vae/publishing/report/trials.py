"""A search as charts and rows: every setting that varied, and how each trial went."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from vae.publishing.report.charts import (
    HEIGHT,
    WIDTH,
    Chart,
    Line,
    Scale,
    Tick,
    draw_lines,
    is_finite,
)
from vae.runs.trials import Trial, find_best

STYLES = {"finished": "blue", "stopped early": "grey", "failed": "red"}
AXIS_WIDTH, LETTER = 112, 8  # pixels at least, and of a letter of an axis's name at most
MARGIN, TOP, BOTTOM = 54, 34, 16
LOSS = "validation loss"


class Axis(NamedTuple):
    """One setting: its name and, for each of its values that occurs, a number that places it."""

    name: str
    scale: Scale
    ticks: list[Tick]
    logarithmic: bool
    order: list[str]  # of values that are no numbers

    def place(self, value: Any) -> float | None:
        """Where a value lies; None for one that is not there."""
        if self.order:
            return self.scale.place(self.order.index(show(value))) if value is not None else None
        if not isinstance(value, int | float) or not math.isfinite(value):
            return None
        return self.scale.place(math.log10(value) if self.logarithmic else value)


def draw_trials(trials: Sequence[Trial]) -> list[Chart]:
    """Parallel coordinates of all that varied, and the loss of every trial over its epochs."""
    charts = [draw_parallel(trials)]
    if any(len(trial.losses) > 1 for trial in trials):
        charts.append(draw_losses(trials))
    return charts


def draw_parallel(trials: Sequence[Trial]) -> Chart:
    """An axis for each setting and one for the loss; a line for each trial that has one."""
    columns = {name: [t.overrides.get(name) for t in trials] for name in list_settings(trials)}
    columns[LOSS] = [trial.loss for trial in trials]
    axes = [make_axis(name, values) for name, values in columns.items()]
    room = max([AXIS_WIDTH, *(LETTER * len(axis.name) for axis in axes)])
    width = max(WIDTH, room * len(axes))
    gap = (width - 2 * MARGIN) / max(1, len(axes) - 1)
    best, lines = find_best(trials), []
    for row, trial in enumerate(trials):
        found = [
            axis.place(values[row]) for axis, values in zip(axes, columns.values(), strict=True)
        ]
        points = [(round(MARGIN + i * gap, 1), y) for i, y in enumerate(found) if y is not None]
        style = "orange" if trial is best else STYLES[trial.outcome]
        texts = [describe(trial)] * len(points)
        lines.append(Line(name=f"trial {trial.number}", style=style, points=points, texts=texts))
    return Chart(
        title="What was tried",
        label=f"{len(trials)} trials as lines across {', '.join(columns)}",
        width=width,
        lines=lines,
        names=[(round(MARGIN + i * gap, 1), 14, axis.name) for i, axis in enumerate(axes)],
        legend=list_outcomes(trials),
        frame=(0, 0, TOP, BOTTOM),
        axes=[(round(MARGIN + i * gap, 1), axis.ticks) for i, axis in enumerate(axes)],
    )


def list_settings(trials: Sequence[Trial]) -> list[str]:
    """The settings that any trial varied, in order."""
    return list(dict.fromkeys(name for trial in trials for name in trial.overrides))


def make_axis(
    name: str, values: Sequence[Any], start: float = HEIGHT - BOTTOM, end: float = TOP
) -> Axis:
    """The axis of a setting: logarithmic where its values differ tenfold, by rank if no numbers."""
    short = shorten(name)
    known = [value for value in values if value is not None]
    numbers = [v for v in known if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(known):
        order = sorted({show(value) for value in known})
        scale = Scale(0, len(order) - 1, start, end)
        ticks = [Tick(scale.place(i), text) for i, text in enumerate(order)]
        return Axis(short, scale, ticks, False, order)
    finite = [value for value in numbers if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    if low > 0 and high >= 10 * low:
        scale = Scale(math.log10(low), math.log10(high), start, end)
        ticks = [Tick(scale.place(math.log10(value)), f"{value:.3g}") for value in (low, high)]
        return Axis(short, scale, ticks, True, [])
    scale = Scale(low, high, start, end)
    return Axis(short, scale, scale.list_ticks(4), False, [])


def shorten(name: str) -> str:
    """A setting's name as there is room for it."""
    return name.rpartition(".")[2].replace("_", " ")


def draw_losses(trials: Sequence[Trial]) -> Chart:
    """Each trial's validation loss over its epochs: where one stopped, and beside what."""
    series = {
        f"trial {t.number}": [(float(i + 1), loss) for i, loss in enumerate(t.losses)]
        for t in trials
    }
    best = find_best(trials)
    styles = ["orange" if trial is best else STYLES[trial.outcome] for trial in trials]
    chart = draw_lines("validation loss of each trial (nats)", series, "epoch", styles)
    return replace(chart, legend=list_outcomes(trials))


def list_outcomes(trials: Sequence[Trial]) -> dict[str, str]:
    """What the styles of those trials' lines stand for."""
    found = {STYLES[trial.outcome]: trial.outcome for trial in trials}
    return found | ({"orange": "best"} if find_best(trials) else {})


def describe(trial: Trial) -> str:
    """A trial in one line."""
    settings = ", ".join(f"{name} {show(value)}" for name, value in trial.overrides.items())
    loss = f"{trial.loss:.2f} nats" if is_finite(trial.loss) else "no loss"
    return f"trial {trial.number}: {settings}; {loss}, epochs {trial.epochs}, {trial.outcome}"


def show(value: Any) -> str:
    """A setting's value in a few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
