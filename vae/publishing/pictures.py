"""Pictures of a model: tensors in, PNG bytes out.

Images are uint8 [N, C, H, W] with 1 or 3 channels, on any device; the same arguments give the
same bytes.
"""

import io
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vae.data.binarization import GreyLevels
from vae.evaluation.probe import encode_means
from vae.models.levels import to_unit
from vae.models.networks import VAE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGIBLE_PIXELS = 84  # smaller images are enlarged by a whole factor to at least this side
SEPARATOR = 0.85  # light grey: visible beside black and white images, in dark and light pages
UNSIGNED: dict[str, Any] = {"Software": None}  # or a new matplotlib would change the bytes
CLASS_MARKERS = "osD^vPX*"  # with ten colours: eighty classes told apart


def draw_samples(model: VAE, n: int = 64, seed: int = 0, temperature: float = 1.0) -> bytes:
    """PNG of n draws from the prior, each as the picture that it expects."""
    drawn = model.sample(n, torch.Generator().manual_seed(seed), temperature=temperature)
    return _render_grid(_enlarge(drawn), math.ceil(math.sqrt(n)))


def draw_separately(pictures_NCHW: Tensor) -> list[bytes]:
    """A PNG of each picture in [0, 1], pixel for pixel."""
    return [_save_pixels(_to_bytes(picture)) for picture in pictures_NCHW]


def draw_reconstructions(model: VAE, images: Tensor, rows: int = 4, columns: int = 12) -> bytes:
    """PNG of the first rows * columns images, each above the decoding of its posterior mean."""
    x_BCHW = to_pixels(model, images[: rows * columns])
    originals, decoded = _enlarge(x_BCHW), _enlarge(model.reconstruct(x_BCHW))
    line = torch.full_like(originals[:, :, :1], SEPARATOR)
    return _render_grid(torch.cat([originals, line, decoded], dim=-2), columns)


def draw_interpolation(
    model: VAE, images: Tensor, labels: Tensor, rows: int = 8, steps: int = 10
) -> bytes:
    """PNG of straight lines in latent space, between the real images at both ends of each row.

    A row joins two images of different labels, while there are such; `labels` is int64 [N].
    Raises ValueError for fewer than two images.
    """
    if len(images) < 2:
        raise ValueError(f"images holds {len(images)}, interpolation needs at least 2")
    tiles = []
    for i, j in choose_pairs(labels.tolist(), rows):
        a_CHW, b_CHW = to_pixels(model, images[[i, j]])
        tiles += [a_CHW[None], model.interpolate(a_CHW, b_CHW, steps), b_CHW[None]]
    return _render_grid(_enlarge(torch.cat(tiles)), steps + 2)


def draw_latents(model: VAE, images: Tensor, labels: Tensor) -> bytes:
    """PNG of the posterior means of the images on a plane, coloured by label (int64 [N]).

    Two latents are drawn as they are and one is spread out by label; of more, the first two
    principal components. Axes name their share of the variance of the means.
    """
    from matplotlib.figure import Figure

    means_ND = encode_means(model, GreyLevels(images))
    plane_N2, names = project(means_ND, labels.cpu())
    figure = Figure(figsize=(8, 7), dpi=120, layout="constrained")
    axes = figure.add_subplot(xlabel=names[0], ylabel=names[1])
    axes.set_title(f"Posterior means of {len(images):,} images, latent size {model.latent_dim}")
    _scatter_classes(axes, plane_N2, labels.cpu())
    axes.grid(alpha=0.25)
    return _render_png(figure)


def to_pixels(model: VAE, images: Tensor) -> Tensor:
    """The images as the model's input, in [0, 1] and where it is."""
    return to_unit(images.to(model.device), model.dtype)


def choose_pairs(labels: list[int], rows: int) -> Iterator[tuple[int, int]]:
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


def _render_grid(tiles_NCHW: Tensor, columns: int) -> bytes:
    """PNG of tiles in [0, 1], row by row; a short last row is filled up with the separator."""
    from torchvision.utils import make_grid

    grid_CHW = make_grid(tiles_NCHW.float(), nrow=columns, padding=3, pad_value=SEPARATOR)
    return _save_pixels(_to_bytes(grid_CHW))


def _to_bytes(picture_CHW: Tensor) -> Tensor:
    """Levels 0 to 255, uint8 [3, H, W]."""
    levels = picture_CHW.float().mul(255).round().byte().cpu()
    return levels.expand(3, *levels.shape[1:])


def _save_pixels(levels_CHW: Tensor) -> bytes:
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    # Its encoder rather than torchvision's, which is deprecated from 0.29 on.
    pixels = levels_CHW.permute(1, 2, 0).contiguous().numpy()
    imsave(buffer, pixels, format="png", metadata=UNSIGNED)
    return buffer.getvalue()


def project(means_ND: Tensor, labels: Tensor) -> tuple[Tensor, list[str]]:
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
        plane, symbol = (
            centred @ (directions * directions.gather(0, largest).sign()),
            r"\mathrm{PC}",
        )
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
        axes.annotate(str(label), centre, size=14, weight="bold", path_effects=[outline])
    axes.legend(title="label", loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2)


def _render_png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata=UNSIGNED)
    return buffer.getvalue()
