"""The latent space as charts: how much each dimension tells, and the images on planes."""

import re
from collections.abc import Sequence

from torch import Tensor

from vae.data.binarization import GreyLevels
from vae.data.mapped import Examples
from vae.evaluation.probe import encode_means
from vae.models.networks import VAE
from vae.publishing.pictures import project
from vae.publishing.report.charts import Chart, Dot, Scale, draw_bars
from vae.publishing.report.images import Latent
from vae.publishing.tsne import FEWEST, embed_on_plane

SIDE, EDGE = 340, 10  # pixels
SHADES = 10  # colours of the page; further classes begin again
NAMED = 20  # classes at most that are written on the map


def draw_kl(latents: Sequence[Latent]) -> Chart:
    """KL of every dimension, the highest first."""
    values = [
        (
            f"z{latent.number}: {latent.kl:.3f} nats{'' if latent.active else ', not active'}",
            latent.kl,
            "blue" if latent.active else "grey",
        )
        for latent in latents
    ]
    return draw_bars("KL of each latent (nats per image)", "latents, sorted", values)


def draw_maps(model: VAE, examples: Examples, names: Sequence[str]) -> list[Chart]:
    """The images at their posterior means: of more than two dimensions by PCA and by t-SNE."""
    images, labels = examples
    means_ND = encode_means(model, GreyLevels(images))
    plane_N2, axes = project(means_ND, labels)
    said = " and ".join(to_plain(axis) for axis in axes)
    charts = [draw_map(f"Posterior means: {said}", plane_N2, labels, names)]
    if means_ND.shape[1] > 2 and len(means_ND) >= FEWEST:
        near_N2 = embed_on_plane(means_ND, plane_N2)
        title = f"The same by t-SNE: neighbours of all {means_ND.shape[1]} latents side by side"
        charts.append(draw_map(title, near_N2, labels, names))
    return charts


def draw_map(title: str, plane_N2: Tensor, labels: Tensor, names: Sequence[str]) -> Chart:
    """A dot for each image, in the colour of its class; each class is named at its centre."""
    x, y = (scale(plane_N2[:, i], i == 1) for i in (0, 1))
    at = [(x.place(a), y.place(b)) for a, b in plane_N2.tolist()]
    dots = [
        Dot(*at[i], f"image {i + 1}: {names[label]}", f"c{label % SHADES}", i)
        for i, label in sorted(enumerate(labels.tolist()), key=lambda pair: (pair[1], pair[0]))
    ]
    present = sorted(set(labels.tolist()))
    centres = [(*plane_N2[labels == label].median(0).values.tolist(), label) for label in present]
    written = [(x.place(a), y.place(b), names[label]) for a, b, label in centres]
    return Chart(
        title=title,
        label=f"{title}; {len(dots)} images of {len(present)} classes",
        width=SIDE,
        height=SIDE,
        dots=dots,
        names=written if 1 < len(present) <= NAMED else [],
        frame=(0, 0, 0, 0),
    )


def scale(values_N: Tensor, upright: bool) -> Scale:
    """From edge to edge of the map; upwards where the axis is upright."""
    start, end = (SIDE - EDGE, EDGE) if upright else (EDGE, SIDE - EDGE)
    return Scale(float(values_N.min()), float(values_N.max()), start, end)


def to_plain(name: str) -> str:
    """An axis's name without its mathematics: 'PC 1 (20% of the variance)'."""
    return re.sub(r"[\\${}]|mathrm", "", name).replace("_", " ")
