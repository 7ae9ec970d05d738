"""What is noted of each image while it is in memory, by which a set is then ordered and judged."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vae.data.pixels import Pixels, cut
from vae.files import hash_bytes

DIM = 32  # a set with no brighter level than this is dark by mistake: of 0 and 1, or of classes


class Traits(NamedTuple):
    """Of one image: the SHA-256 of its pixels, its levels, and whether its channels are equal."""

    digest: str
    darkest: int
    brightest: int
    grey: bool


def note(image_CHW: NDArray[np.uint8]) -> Traits:
    """The traits of an image."""
    grey = all(np.array_equal(image_CHW[0], other) for other in image_CHW[1:])
    digest = hash_bytes(np.ascontiguousarray(image_CHW).data)
    return Traits(digest, int(image_CHW.min()), int(image_CHW.max()), grey)


def note_all(images: Pixels) -> list[Traits]:
    """The traits of every image, of which a few are in memory at a time."""
    return [note(image) for piece in cut(images) for image in images[piece]]


def find_oddities(traits: Sequence[Traits], channels: int) -> tuple[str, ...]:
    """What is right by the files, but hardly what is meant."""
    darkest = min(one.darkest for one in traits)
    brightest = max(one.brightest for one in traits)
    if darkest == brightest:
        return (f"every level of every image is {darkest}",)
    if brightest < DIM:
        return (f"no level is above {brightest} of 255",)
    if channels == 3 and all(one.grey for one in traits):
        return ("all are grey in three equal channels, data.colours = 1 keeps one",)
    return ()
