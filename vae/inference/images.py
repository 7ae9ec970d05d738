"""A user's images as a pulled model takes them."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae.data import arrays
from vae.data.images import Look, decode
from vae.data.layouts import find_images
from vae.data.local_sets import locate_set
from vae.data.pixels import cut
from vae.data.places import open_place, parse_target, show_name
from vae.errors import UserError
from vae.experiments.settings import DataConfig
from vae.models.levels import count_at_once
from vae.models.networks import VAE
from vae.registry.manifest import Manifest
from vae.scratch import open_temporary

AT_ONCE = 250  # images
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Some images and what they are called."""

    names: list[str]
    images: Tensor  # uint8 [N, C, H, W]


def read_data_settings(manifest: Manifest) -> DataConfig:
    """How the model's own images were read and binarised; what version 0.1 lacks is as it was."""
    plain: dict[str, Any] = manifest.experiment.get("data", {})
    known = {key: plain[key] for key in DataConfig.__dataclass_fields__ if key in plain}
    if "background" in known:
        known["background"] = tuple(known["background"])
    return DataConfig(**known)


def read_images(where: str, model: VAE, data: DataConfig) -> Iterator[Batch]:
    """The images at a path, a pattern or a URL, in order, brought to what the model was trained on.

    Colours and size follow the model where its own data were resized; otherwise they have to be
    the model's. What is left out is logged. Raises UserError for an image that the model can't
    take, by its name.
    """
    found = locate_set(where)
    if found is None:
        raise UserError(f"{where} is no folder, pattern, table, .npy file or URL of images")
    target = parse_target(found)
    place = open_place(target.folder)
    look = Look.of(replace(data, colours=model.shape[0]))
    if target.file.lower().endswith(".npy"):
        with open_temporary("array") as folder:  # a map outlives its file
            images, notes = arrays.open_images(place.fetch(target.file, Path(folder)), target.file)
        names = [f"{target.file}[{row}]" for row in range(len(images))]
        pixels: Iterator[np.ndarray[Any, Any]] = (
            image for piece in cut(images) for image in arrays.fit_images(images[piece], look)[0]
        )
    else:
        items, notes = find_images(place, target)
        names = [show_name(item.where) for item in items]
        pixels = (_decode(place.read(item.where), look, item.where) for item in items)
    if notes:
        log.warning("%s: %s", show_name(where), ", ".join(notes))
    yield from _collect(names, pixels, model.shape)


def _decode(content: bytes, look: Look, where: str) -> np.ndarray[Any, Any]:
    try:
        return decode(content, look).image
    except UserError as error:
        raise UserError(f"{show_name(where)}: {error}") from error


def _collect(
    names: list[str], pixels: Iterator[np.ndarray[Any, Any]], shape: tuple[int, int, int]
) -> Iterator[Batch]:
    """Batches of AT_ONCE images or of fewer large ones, each checked against the model's shape."""
    waiting: list[np.ndarray[Any, Any]] = []
    at_once = count_at_once(shape, AT_ONCE)
    for number, image in enumerate(pixels):
        if image.shape != shape:
            raise UserError(
                f"{names[number]} is {describe_shape(image.shape)}, the model takes "
                f"{describe_shape(shape)}; set data.size when you train, and it is resized"
            )
        waiting.append(image)
        if len(waiting) == at_once or number + 1 == len(names):
            first = number + 1 - len(waiting)
            yield Batch(names[first : number + 1], torch.from_numpy(np.stack(waiting)))
            waiting = []


def describe_shape(shape: tuple[int, ...]) -> str:
    """'1×28×28', colours first."""
    return "×".join(map(str, shape))
