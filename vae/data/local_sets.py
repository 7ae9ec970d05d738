"""One's own images: a folder of files, or what a pattern, a table or a .npy file names."""

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vae.data import arrays
from vae.data.decoded import PART_IMAGES, DecodedImages, Kept, Source, count_changes, cut_parts
from vae.data.decoders import READERS, decode_all
from vae.data.formats import Parsed
from vae.data.held_out import hold_out
from vae.data.images import Look
from vae.data.in_order import map_in_order
from vae.data.layouts import Item, Layout, find_images
from vae.data.pixels import Pixels
from vae.data.places import Place, Target, open_place, parse_target, show_name
from vae.data.traits import Traits, find_oddities, note, note_all
from vae.errors import UserError
from vae.experiments.settings import DataConfig
from vae.files import hash_bytes, hash_file
from vae.scratch import TEMPORARY


class LocalSet(NamedTuple):
    """A set that was found: its title, what its content follows from, and how it is read.

    `contents`: what identifies the set, the SHA-256 of every file among it; equal for the same
    files wherever they lie. `parse` takes a folder, in which it keeps what it decodes for as long
    as the images are read, and finds it again after a kill; it raises UserError.
    """

    title: str
    contents: dict[str, str]
    parse: Callable[[Path], Parsed]


def open_set(config: DataConfig) -> LocalSet:
    """The set that `data.name` names, every file of it read once. Raises UserError."""
    target = parse_target(config.name)
    place = open_place(target.folder)
    if target.file.lower().endswith(".npy"):
        return _open_array(place, target)
    layout = find_images(place, target)
    sources = list(_read_sources(place, layout))
    rows = sorted(
        [source.sha256, show_name(item.label), item.split]
        for source, item in zip(sources, layout.items, strict=True)
    )
    contents = {
        "images": hash_bytes(repr(rows).encode()),
        "left out": hash_bytes(repr(layout.left_out).encode()),
        "broken": config.broken,
    }
    return LocalSet(
        target.title,
        contents,
        lambda folder: _parse_images(place, layout, sources, config, folder),
    )


def _read_sources(place: Place, layout: Layout) -> Iterator[Source]:
    """Yield what each file is, read some at a time: a thread takes as long to start as to read."""
    names = [item.where for item in layout.items]
    at_once = min(PART_IMAGES, -(-len(names) // (4 * READERS)))

    def read(start: int) -> list[Source]:
        found = ((name, place.read(name)) for name in names[start : start + at_once])
        return [Source(name, hash_bytes(data), len(data)) for name, data in found]

    for some in map_in_order(read, range(0, len(names), at_once), READERS):
        yield from some


def _open_array(place: Place, target: Target) -> LocalSet:
    """A .npy file, and beside it, if there is one, NAME-labels.npy."""
    scratch = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}array-"))
    path = place.fetch(target.file, scratch)
    beside = f"{target.file[:-4]}-labels.npy"
    labels = place.fetch(beside, scratch) if place.exists(beside) else None
    contents = {
        "array": hash_file(path),
        "labels": hash_bytes(b"") if labels is None else hash_file(labels),
    }

    def parse(folder: Path) -> Parsed:
        images, notes = arrays.open_images(path, target.file)
        given = [("", "")] * len(images)
        if labels is not None:
            names = arrays.read_labels(labels, beside, len(images))
            given, notes = [(name, "") for name in names], (*notes, f"classes from {beside}")
        traits = note_all(images)
        if hash_file(path) != contents["array"]:
            raise UserError(f"{target.file}: it has changed while the set was read")
        return _build(images, traits, given, notes)

    weakref.finalize(parse, shutil.rmtree, scratch, ignore_errors=True)
    return LocalSet(target.title, contents, parse)


def _parse_images(
    place: Place, layout: Layout, sources: Sequence[Source], config: DataConfig, folder: Path
) -> Parsed:
    """Decode every image once, into parts in the folder, and say how they are split."""
    parts = cut_parts(sources, Look.of(config), config.broken == "skip", folder)
    found = [(part.path, one) for part, kept in decode_all(place, parts) for one in kept]
    broken = [one.error for _, one in found if one.error]
    whole = [
        (item, place) for item, place in zip(layout.items, found, strict=True) if not place[1].error
    ]
    skipped = (f"{len(broken)} skipped ({broken[0]})",) if broken else ()
    _check_sizes([(item, kept) for item, (_, kept) in whole])
    images = DecodedImages([place for _, place in whole])
    traits, merged = _merge(images)
    given = [(item.label, item.split) for item, _ in whole]
    changes = count_changes(one for _, one in found)
    return _build(images, traits, given, (*layout.left_out, *skipped, *changes, *merged))


def _check_sizes(found: Sequence[tuple[Item, Kept]]) -> None:
    """Raise UserError where not all images have one height and width, or there are none."""
    if not found:
        raise UserError("no whole image is left")
    first, one = found[0]
    for item, other in found:
        if other.shape[1:] != one.shape[1:]:
            raise UserError(
                f"{show_name(item.where)}: (height, width) {other.shape[1:]}, but "
                f"{show_name(first.where)} has {one.shape[1:]}; all must agree, or data.size "
                "must say what to bring them to"
            )


def _merge(images: DecodedImages) -> tuple[list[Traits], tuple[str, ...]]:
    """The traits of all images, grey ones as three equal channels where others are in colour."""
    kept = [one for _, one in images.places]
    grey = sum(one.shape[0] == 1 for one in kept)
    if grey in (0, len(kept)):
        return [one.traits for one in kept], ()
    traits = [
        one.traits if one.shape[0] == images.channels else note(images[np.array([number])][0])
        for number, one in enumerate(kept)
    ]
    return traits, (f"{grey} grey among colour, taken as colour",)


def _build(
    images: Pixels,
    traits: Sequence[Traits],
    given: Sequence[tuple[str, str]],
    notes: tuple[str, ...],
) -> Parsed:
    """Number the classes in order of name, and split. `given`: the class and split of each."""
    names = sorted({label for label, _ in given})
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.array([numbers[label] for label, _ in given], np.int64)
    digests = [one.digest for one in traits]
    parsed = hold_out(images, labels, digests, [split for _, split in given])
    shown = () if names == [""] else tuple(show_name(name) or "(no folder)" for name in names)
    notes = (*notes, *parsed.notes, *find_oddities(traits, images.shape[1]))
    return parsed._replace(class_names=shown, notes=notes)


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
