"""Pictures of a model: tensors in, PNG bytes or inline SVG out.

Images are uint8 [N, C, H, W] with 1 or 3 channels, on any device; the same arguments give the
same bytes.
"""

import io
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import torch
from torch import Tensor

from vae.models import VAE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGIBLE_PIXELS = 84  # smaller images are enlarged by a whole factor to at least this side
SEPARATOR = 0.85  # light grey: visible beside black and white images, in dark and light pages
BLOCK_IMAGES = 1000
BLUE, ORANGE = "#3f90da", "#e76300"
CLASS_MARKERS = "osD^vPX*"  # with ten colours: eighty classes told apart
OUTCOME_MARKERS = {"finished": "o", "stopped early": "v", "failed": "x"}


class TrialRow(TypedDict):
    """One trial of a search, as plain data."""

    name: str
    overrides: Mapping[str, int | float | str | bool]
    nelbo: float | None  # best val/nelbo in nats; None if no epoch finished
    epochs: int
    outcome: Literal["finished", "stopped early", "failed"]
    error: str | None  # of a failed trial
    best: bool


def sample_grid(model: VAE, n: int = 64, seed: int = 0) -> bytes:
    """PNG of n draws from the prior, shown as pixel probabilities."""
    return _grid(model.sample(n, torch.Generator().manual_seed(seed)), math.ceil(math.sqrt(n)))


def reconstruction_grid(model: VAE, images: Tensor, rows: int = 4, columns: int = 12) -> bytes:
    """PNG of the first rows * columns images, each above the decoding of its posterior mean."""
    x_BCHW = _pixels(model, images[: rows * columns])
    originals, decoded = _enlarge(x_BCHW), _enlarge(model.reconstruct(x_BCHW))
    line = torch.full_like(originals[:, :, :1], SEPARATOR)
    return _grid(torch.cat([originals, line, decoded], dim=-2), columns)


def interpolation_grid(
    model: VAE, images: Tensor, labels: Tensor, rows: int = 8, steps: int = 10
) -> bytes:
    """PNG of straight lines in latent space, between the real images at both ends of each row.

    A row joins two images of different labels, while there are such; `labels` is int64 [N].
    Raises ValueError for fewer than two images.
    """
    if len(images) < 2:
        raise ValueError(f"images holds {len(images)}, interpolation needs at least 2")
    tiles = []
    for i, j in _pairs(labels.tolist(), rows):
        a_CHW, b_CHW = _pixels(model, images[[i, j]])
        tiles += [a_CHW[None], model.interpolate(a_CHW, b_CHW, steps), b_CHW[None]]
    return _grid(torch.cat(tiles), steps + 2)


def latent_map(model: VAE, images: Tensor, labels: Tensor) -> bytes:
    """PNG of the posterior means of the images on a plane, coloured by label (int64 [N]).

    Two latents are drawn as they are and one is spread out by label; of more, the first two
    principal components. Axes name their share of the variance of the means.
    """
    from matplotlib.figure import Figure

    means_ND = _posterior_means(model, images)
    plane_N2, names = _plane(means_ND, labels.cpu())
    figure = Figure(figsize=(8, 7), dpi=120, layout="constrained")
    axes = figure.add_subplot(xlabel=names[0], ylabel=names[1])
    axes.set_title(f"Posterior means of {len(images):,} images, {means_ND.shape[1]} latents")
    _scatter_classes(axes, plane_N2, labels.cpu())
    axes.grid(alpha=0.25)
    return _render_png(figure)


def training_curves(history: Sequence[Mapping[str, float | None]]) -> str:
    """Inline SVG of the bound, the rate and the distortion (nats per image) over the epochs.

    Each row has "epoch" and any of train/loss, val/nelbo, val/rate, val/distortion; what is
    missing or not finite is left out of its line.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3), layout="constrained")
    panels = {
        "Loss and bound": ["train/loss", "val/nelbo"],
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


def trial_plot(trials: Sequence[TrialRow], latent_dim: str, lr: str) -> str:
    """Inline SVG of a search: latent size against learning rate, coloured by val/nelbo.

    `latent_dim` and `lr` name the overrides to draw. Raises KeyError if a trial lacks one and
    ValueError if no trial has a val/nelbo.
    """
    from matplotlib.artist import Artist
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.add_subplot(xlabel="latent size", ylabel="learning rate", yscale="log")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    values = [trial["nelbo"] for trial in trials if trial["nelbo"] is not None]
    scale = ScalarMappable(Normalize(min(values), max(values)), "viridis_r")
    handles: dict[str, Artist] = {}
    for trial in trials:
        x, y = trial["overrides"][latent_dim], trial["overrides"][lr]
        nelbo, marker = trial["nelbo"], OUTCOME_MARKERS[trial["outcome"]]
        colour = "grey" if nelbo is None else scale.cmap(scale.norm(nelbo))
        handles[trial["outcome"]] = axes.scatter(x, y, s=60, color=colour, marker=marker)
        if trial["best"]:
            handles["best"] = axes.scatter(x, y, s=220, color="none", edgecolors=ORANGE)
    figure.colorbar(scale, ax=axes, label="val/nelbo (nats per image)")
    axes.legend(handles.values(), handles.keys(), loc="best")
    return _render_svg(figure, "trials")


def write_png(path: Path, png: bytes) -> None:
    """Write a picture whole: a reader sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(png)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _pixels(model: VAE, images: Tensor) -> Tensor:
    at = next(model.parameters())
    return images.to(at.device, at.dtype) / 255


@torch.no_grad()
def _posterior_means(model: VAE, images: Tensor) -> Tensor:
    blocks = [model.encode(_pixels(model, block))[0] for block in torch.split(images, BLOCK_IMAGES)]
    return torch.cat(blocks).double().cpu()


def _pairs(labels: list[int], rows: int) -> Iterator[tuple[int, int]]:
    """Yield up to `rows` disjoint pairs in order, of different labels if there is more than one."""
    alike = len(set(labels)) == 1
    left = list(range(len(labels)))
    while left and rows:
        i = left.pop(0)
        partners = (j for j in left if alike or labels[j] != labels[i])
        if (j := next(partners, None)) is None:
            return
        left.remove(j)
        rows -= 1
        yield i, j


def _enlarge(x_NCHW: Tensor) -> Tensor:
    factor = math.ceil(LEGIBLE_PIXELS / max(x_NCHW.shape[-2:]))
    return x_NCHW.repeat_interleave(factor, -2).repeat_interleave(factor, -1)


def _grid(tiles_NCHW: Tensor, columns: int) -> bytes:
    """PNG of tiles in [0, 1], row by row; a short last row is filled up with the separator."""
    from torchvision.io import encode_png  # type: ignore[import-untyped]
    from torchvision.utils import make_grid  # type: ignore[import-untyped]

    grid = make_grid(tiles_NCHW.float(), nrow=columns, padding=3, pad_value=SEPARATOR)
    return bytes(encode_png(grid.mul(255).round().byte().cpu()).numpy())


def _plane(means_ND: Tensor, labels: Tensor) -> tuple[Tensor, list[str]]:
    """Two coordinates per image and the names of the axes."""
    latents = means_ND.shape[1]
    if latents == 1:
        # The golden ratio spreads any number of points evenly without a random draw.
        spread = (torch.arange(len(labels)) * 0.6180339887498949) % 1 - 0.5
        return torch.stack([means_ND[:, 0], labels + 0.7 * spread], 1), ["$z_1$", "label"]
    centred = means_ND - means_ND.mean(0)
    plane, symbol = means_ND, "z"
    if latents > 2:
        directions = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -2:].flip(1)
        # An eigenvector's sign is arbitrary: its largest entry is made positive.
        largest = directions.abs().argmax(0, keepdim=True)
        plane, symbol = centred @ (directions * directions.gather(0, largest).sign()), "PC"
    total = centred.square().sum()
    share = plane.var(0, correction=0) * len(plane) / total if total > 0 else torch.zeros(2)
    return plane, [f"${symbol}_{i + 1}$ ({share[i]:.0%} of the variance)" for i in range(2)]


def _scatter_classes(axes: "Axes", plane_N2: Tensor, labels: Tensor) -> None:
    import matplotlib as mpl
    from matplotlib.patheffects import withStroke

    palette = mpl.color_sequences["petroff10"]  # chosen for colour-blind readers, arXiv:2107.02270
    for index, label in enumerate(sorted(set(labels.tolist()))):
        cloud = plane_N2[labels == label]
        colour, marker = palette[index % 10], CLASS_MARKERS[index // 10 % len(CLASS_MARKERS)]
        x, y = cloud.T.numpy()
        axes.scatter(x, y, s=12, alpha=0.7, lw=0, color=colour, marker=marker, label=label)
        centre = (float(x.mean()), float(y.mean()))
        outline = withStroke(linewidth=3, foreground="white")
        axes.annotate(str(label), centre, color=colour, weight="bold", path_effects=[outline])
    axes.legend(title="label", loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2)


def _line(rows: Sequence[Mapping[str, float | None]], key: str) -> tuple[list[Any], list[Any]]:
    points = [(row["epoch"], row.get(key)) for row in rows]
    points = [(x, y) for x, y in points if y is not None and math.isfinite(y)]
    return [x for x, _ in points], [y for _, y in points]


def _render_png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


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
