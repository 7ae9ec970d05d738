"""Plots of a run's records as inline SVG: how training went, and what the search tried.

The same records give the same text; it follows the page's text colour, light or dark.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, TypeGuard

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE = "#3f90da", "#e76300"
OUTCOME_MARKERS = {"finished": "o", "stopped early": "v", "failed": "X"}


class TrialRow(TypedDict):
    """One trial of a search as plain data, as the run's search result has it."""

    number: int
    overrides: dict[str, Any]
    loss: float | None  # best val/loss in nats; None if no epoch finished
    epochs: int
    stopped: bool  # early, by the scheduler
    error: str | None


def training_curves(history: Sequence[Mapping[str, float | None]]) -> str:
    """Inline SVG of the loss, the rate and the distortion (nats per image) over the epochs.

    Each row has "epoch" and any of train/loss, val/loss, val/rate, val/distortion; what is
    missing or not finite is left out of its line.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3), layout="constrained")
    panels = {
        "Loss": ["train/loss", "val/loss"],
        "Rate": ["val/rate"],
        "Distortion": ["val/distortion"],
    }
    for axes, (title, keys) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        for key, colour in zip(reversed(keys), (BLUE, ORANGE), strict=False):
            axes.plot(*_line(history, key), label=key, color=colour, marker=".")
        axes.legend(frameon=False)
    figure.axes[0].set_ylabel("nats per image")
    return _render_svg(figure, "curves")


def trial_plot(trials: Sequence[TrialRow], latent_dim: str, learning_rate: str) -> str:
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
    tried = sorted({trial["overrides"][latent_dim] for trial in trials})
    axes.xaxis.set_major_locator(FixedLocator(tried, nbins=8))
    axes.xaxis.set_major_formatter("{x:g}")
    best, values = best_row(trials), [t["loss"] for t in trials if is_finite(t["loss"])]
    scale = Normalize(min(values, default=0), max(values, default=1))
    dots = {}
    for trial in trials:
        at = trial["overrides"][latent_dim], trial["overrides"][learning_rate]
        loss, marker = trial["loss"], OUTCOME_MARKERS[outcome(trial)]
        shade = mpl.colormaps["viridis_r"](float(scale(loss))) if is_finite(loss) else "grey"
        style: dict[str, Any] = {"color": shade, "edgecolors": "black", "linewidths": 0.5}
        dots[outcome(trial)] = axes.scatter(*at, s=60, marker=marker, **style)
        if trial is best:
            dots["best"] = axes.scatter(*at, s=220, color="none", edgecolors=ORANGE)
    figure.colorbar(ScalarMappable(scale, "viridis_r"), ax=axes, label="val/loss (nats per image)")
    figure.legend(dots.values(), dots.keys(), loc="outside upper center", ncols=4, frameon=False)
    return _render_svg(figure, "trials")


def outcome(trial: TrialRow) -> str:
    """How a trial ended: a key of OUTCOME_MARKERS."""
    return "failed" if trial["error"] else "stopped early" if trial["stopped"] else "finished"


def best_row(trials: Sequence[TrialRow]) -> TrialRow | None:
    """Return the first trial with the lowest finite bound, None if none that ended well has one."""
    bounds = [(trial["loss"], i) for i, trial in enumerate(trials) if not trial["error"]]
    finite = [(loss, i) for loss, i in bounds if is_finite(loss)]
    return trials[min(finite)[1]] if finite else None


def is_finite(value: float | None) -> TypeGuard[float]:
    """Whether a metric was measured at all, and as a number."""
    return value is not None and math.isfinite(value)


def _line(rows: Sequence[Mapping[str, float | None]], key: str) -> tuple[list[Any], list[Any]]:
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
