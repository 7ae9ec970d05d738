"""One's own images: a folder of files, or what a pattern, a table or a .npy file names."""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from vae.data import arrays
from vae.data.formats import Parsed
from vae.data.held_out import hold_out
from vae.data.images import Decoded, Look, decode
from vae.data.layouts import Item, Layout, find_images
from vae.data.places import Place, Target, open_place, parse_target, show_name
from vae.errors import UserError
from vae.experiments.settings import DataConfig
from vae.files import hash_bytes

READERS = 16  # threads: on S3 each read is a request, and decoders leave Python to others
DIM = 32  # a set with no brighter level than this is dark by mistake: of 0 and 1, or of classes
_One = TypeVar("_One")
_Made = TypeVar("_Made")


class LocalSet(NamedTuple):
    """A set that was found: its title, what its content follows from, and how it is read.

    `contents`: what identifies the set, the SHA-256 of every file among it; equal for the same
    files wherever they lie. `parse` raises UserError.
    """

    title: str
    contents: dict[str, str]
    parse: Callable[[], Parsed]


def open_set(config: DataConfig) -> LocalSet:
    """The set that `data.name` names, every file of it read once. Raises UserError."""
    target = parse_target(config.name)
    place = open_place(target.folder)
    if target.file.lower().endswith(".npy"):
        return _open_array(place, target)
    layout = find_images(place, target)
    digests = list(_map(lambda item: hash_bytes(place.read(item.where)), layout.items))
    rows = sorted(
        [digest, show_name(item.label), item.split]
        for digest, item in zip(digests, layout.items, strict=True)
    )
    contents = {
        "images": hash_bytes(repr(rows).encode()),
        "left out": hash_bytes(repr(layout.left_out).encode()),
        "broken": config.broken,
    }
    return LocalSet(target.title, contents, lambda: _parse_images(place, layout, digests, config))


def _open_array(place: Place, target: Target) -> LocalSet:
    """A .npy file, and beside it, if there is one, NAME-labels.npy."""
    data = place.read(target.file)
    beside = f"{target.file[:-4]}-labels.npy"
    labels = place.read(beside) if place.exists(beside) else None
    contents = {"array": hash_bytes(data), "labels": hash_bytes(labels or b"")}

    def parse() -> Parsed:
        images, notes = arrays.read_images(data, target.file)
        if labels is None:
            return _build(images, [("", "")] * len(images), notes)
        names = arrays.read_labels(labels, beside, len(images))
        return _build(images, [(name, "") for name in names], (*notes, f"classes from {beside}"))

    return LocalSet(target.title, contents, parse)


def _parse_images(
    place: Place, layout: Layout, digests: Sequence[str], config: DataConfig
) -> Parsed:
    look = Look.of(config)

    def read(job: tuple[Item, str]) -> Decoded | UserError:
        item, digest = job
        data = place.read(item.where)
        if hash_bytes(data) != digest:
            raise UserError(f"{show_name(item.where)}: it has changed while the set was read")
        try:
            return decode(data, look)
        except UserError as error:
            told = UserError(f"{show_name(item.where)}: {error}")
            if config.broken == "refuse":
                raise told from error
            return told

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of decoders, about what is beside the pixels
        found = list(_map(read, zip(layout.items, digests, strict=True)))
    broken = [one for one in found if isinstance(one, UserError)]
    images = [
        (item, one)
        for item, one in zip(layout.items, found, strict=True)
        if isinstance(one, Decoded)
    ]
    changes = Counter(change for _, one in images for change in one.changes)
    skipped = (f"{len(broken)} skipped ({broken[0]})",) if broken else ()
    pixels, merged = _stack(images)
    counted = (f"{count} {change}" for change, count in sorted(changes.items()))
    given = [(item.label, item.split) for item, _ in images]
    return _build(pixels, given, (*layout.left_out, *skipped, *counted, *merged))


def _stack(images: Sequence[tuple[Item, Decoded]]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """All images in one array, grey ones in three equal channels where others are in colour."""
    if not images:
        raise UserError("no whole image is left")
    first, one = images[0]
    for item, other in images:
        if other.image.shape[1:] != one.image.shape[1:]:
            raise UserError(
                f"{show_name(item.where)}: (height, width) {other.image.shape[1:]}, but "
                f"{show_name(first.where)} has {one.image.shape[1:]}; all must agree, or data.size "
                "must say what to bring them to"
            )
    grey = sum(len(other.image) == 1 for _, other in images)
    if grey in (0, len(images)):
        return np.stack([other.image for _, other in images]), ()
    colour = [np.broadcast_to(other.image, (3, *other.image.shape[1:])) for _, other in images]
    return np.stack(colour), (f"{grey} grey among colour, taken as colour",)


def _build(
    images_NCHW: NDArray[np.uint8], given: Sequence[tuple[str, str]], notes: tuple[str, ...]
) -> Parsed:
    """Number the classes in order of name, and split. `given`: the class and split of each."""
    names = sorted({label for label, _ in given})
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.array([numbers[label] for label, _ in given], np.int64)
    parsed = hold_out(images_NCHW, labels, [split for _, split in given])
    shown = () if names == [""] else tuple(show_name(name) or "(no folder)" for name in names)
    notes = (*notes, *parsed.notes, *_find_oddities(images_NCHW))
    return parsed._replace(class_names=shown, notes=notes)


def _find_oddities(images_NCHW: NDArray[np.uint8]) -> tuple[str, ...]:
    """What is right by the files, but hardly what is meant."""
    darkest, brightest = int(images_NCHW.min()), int(images_NCHW.max())
    if darkest == brightest:
        return (f"every level of every image is {darkest}",)
    if brightest < DIM:
        return (f"no level is above {brightest} of 255",)
    if images_NCHW.shape[1] == 3 and (images_NCHW == images_NCHW[:, :1]).all():
        return ("all are grey in three equal channels, data.colours = 1 keeps one",)
    return ()


def _map(work: Callable[[_One], _Made], jobs: Iterable[_One]) -> Iterator[_Made]:
    """Yield the results in order; the first error, in that order, ends it."""
    with ThreadPoolExecutor(READERS) as pool:
        try:
            yield from pool.map(work, jobs)
        finally:
            pool.shutdown(cancel_futures=True)


def locate_set(name: str) -> str | None:
    """The absolute path, or the URL, that a name means; None if there is no such thing.

    A URL is not looked for.
    """
    if not name or "://" in name:
        return name or None
    path = os.path.abspath(os.path.expanduser(name))
    target = parse_target(path)
    # os.path answers False, not an OSError, for a name that no file can have
    there = os.path.isfile(path) if target.file else os.path.isdir(target.folder)
    return path if there else None
