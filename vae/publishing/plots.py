"""Plots of a run's records as inline SVG: how training went, and what the search tried.

The same records give the same text; it follows the page's text colour, light or dark.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from vae.runs.trials import Trial, find_best

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE = "#3f90da", "#e76300"
PANELS_A_ROW = 3
OUTCOME_MARKERS = {"finished": "o", "stopped early": "v", "failed": "X"}


def plot_training(history: Sequence[Mapping[str, float | None]]) -> str:
    """Inline SVG of every metric over the epochs: losses together, each other one by itself.

    Each row has "epoch" and metrics named "train/…" or "val/…"; what is missing or not finite is
    left out of its line. Losses, rate and distortion are in nats per image.
    """
    from matplotlib.figure import Figure

    panels = arrange_panels(history)
    rows = -(-len(panels) // PANELS_A_ROW)
    figure = Figure(figsize=(10, 3 * rows), layout="constrained")
    grid = figure.subplots(rows, PANELS_A_ROW, squeeze=False).flatten()
    for axes, (title, keys) in zip(grid, panels.items(), strict=False):
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        for key, colour in zip(keys, (BLUE, ORANGE), strict=False):
            axes.plot(*_select_points(history, key), label=key, color=colour, marker=".")
        axes.legend(frameon=False)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return _render_svg(figure, "curves")


def arrange_panels(history: Sequence[Mapping[str, float | None]]) -> dict[str, list[str]]:
    """The metrics of each panel, by its title: both losses first, then the others as they come."""
    names = dict.fromkeys(name for row in history for name in row if "/" in name)
    panels = {"loss (nats per image)": ["val/loss", "train/loss"]}
    for name in names:
        if not name.endswith("/loss"):
            panels[name.partition("/")[2].replace("_", " ")] = [name]
    return panels


def plot_trials(trials: Sequence[Trial], latent_dim: str, learning_rate: str) -> str:
    """Inline SVG of a search: latent size against learning rate, coloured by val/loss.

    The last two arguments name the overrides to draw. Raises KeyError if a trial lacks one.
    """
    import matplotlib as mpl
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.add_subplot(xlabel="latent size", ylabel="learning rate", yscale="log")
    axes.set_xscale("log", base=2)
    points: list[Any] = [(t.overrides[latent_dim], t.overrides[learning_rate]) for t in trials]
    tried = sorted({latent for latent, _ in points})
    axes.xaxis.set_major_locator(FixedLocator(tried, nbins=8))
    axes.xaxis.set_major_formatter("{x:g}")
    best, values = find_best(trials), [t.loss for t in trials if is_finite(t.loss)]
    scale = Normalize(min(values, default=0), max(values, default=1))
    dots = {}
    for trial, at in zip(trials, points, strict=True):
        loss, marker = trial.loss, OUTCOME_MARKERS[trial.outcome]
        shade = mpl.colormaps["viridis_r"](float(scale(loss))) if is_finite(loss) else "grey"
        style: dict[str, Any] = {"color": shade, "edgecolors": "black", "linewidths": 0.5}
        dots[trial.outcome] = axes.scatter(at[0], at[1], s=60, marker=marker, **style)
        if trial is best:
            dots["best"] = axes.scatter(at[0], at[1], s=220, color="none", edgecolors=ORANGE)
    figure.colorbar(ScalarMappable(scale, "viridis_r"), ax=axes, label="val/loss (nats per image)")
    figure.legend(dots.values(), dots.keys(), loc="outside upper center", ncols=4, frameon=False)
    return _render_svg(figure, "trials")


def is_finite(value: float | None) -> TypeGuard[float]:
    """Whether a metric was measured at all, and as a number."""
    return value is not None and math.isfinite(value)


def _select_points(
    rows: Sequence[Mapping[str, float | None]], key: str
) -> tuple[list[Any], list[Any]]:
    kept = [row for row in rows if is_finite(row.get(key))]
    return [row["epoch"] for row in kept], [row[key] for row in kept]


def _render_svg(figure: "Figure", name: str) -> str:
    """Give the <svg> element alone, in the page's text colour, its ids prefixed with `name`."""
    import matplotlib as mpl

    buffer = io.StringIO()
    unsigned = dict.fromkeys(["Creator", "Date", "Format", "Type"])
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=unsigned)
    svg = buffer.getvalue()
    # HTML knows the namespaces of inline SVG, and two figures on a page would share ids.
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg[svg.index("<svg") :])
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return svg.replace("#000000", "currentColor").replace("<svg ", '<svg fill="currentColor" ', 1)
