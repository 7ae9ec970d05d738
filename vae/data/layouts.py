"""From the names of files to images with their classes and splits, before any is opened."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from vae.data.images import list_suffixes
from vae.data.places import Listing, Place, Target, match, show_name
from vae.data.tables import SPLITS, read_table
from vae.errors import UserError


class Item(NamedTuple):
    """One image: its file, its class ("": it has none), and the split it belongs to, if given."""

    where: str
    label: str
    split: str = ""


class Layout(NamedTuple):
    """The images of a set, in order of name, and what is left out of it, in words."""

    items: tuple[Item, ...]
    left_out: tuple[str, ...]


def find_images(place: Place, target: Target) -> Layout:
    """The images that a name means. Raises UserError, also where there are none."""
    if target.file:
        rows = read_table(place.read(target.file), target.file)
        return Layout(tuple(Item(*row) for row in rows), ())
    listing = place.list()
    if target.pattern:
        listing = Listing(match(listing.files, target.pattern), Counter())
    known = list_suffixes()
    images = [name for name in listing.files if PurePosixPath(name).suffix.lower() in known]
    others = Counter(_name_kind(name) for name in set(listing.files) - set(images))
    if not images:
        raise UserError(_describe_nothing(target, listing.left_out + others))
    items = arrange(images)
    outside = len(images) - len(items)
    others |= Counter({"images outside of train, val and test": outside} if outside else {})
    return Layout(items, count_left_out(listing.left_out + others))


def arrange(names: Iterable[str]) -> tuple[Item, ...]:
    """The images at these paths, by the folders that they lie in.

    Folders around all of them mean nothing. Where then train and val or test are among the folders,
    at the top or in each class, these are the splits; the first other folder is the class. Raises
    UserError for splits without one to train on.
    """
    paths = {name: tuple(name.split("/")[:-1]) for name in sorted(names)}
    paths = _unwrap(paths)
    for depth in (0, 1):
        if _are_splits([folders[depth : depth + 1] for folders in paths.values()], depth):
            return _take_splits(paths, depth)
    return tuple(Item(name, folders[0] if folders else "") for name, folders in paths.items())


def count_left_out(kinds: Counter[str]) -> tuple[str, ...]:
    """What was left out, the most frequent kind first: '40 .heic left out'."""
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return tuple(f"{count} {kind} left out" for kind, count in ordered)


def _unwrap(paths: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Without the folders that are around all images, the class of a single one excepted."""
    while len({folders[:1] for folders in paths.values()}) == 1 and all(
        len(folders) > 1 for folders in paths.values()
    ):
        paths = {name: folders[1:] for name, folders in paths.items()}
    return paths


def _are_splits(folders: Sequence[tuple[str, ...]], depth: int) -> bool:
    """Whether folders name splits: train and another, or in each class nothing but splits."""
    named = {SPLITS.get(one[0].lower(), "") if one else "" for one in folders}
    if {"val", "test"} == named:
        raise UserError("folders for val and test, but none for train: give one, or none of them")
    return "train" in named and len(named - {""}) > 1 and (depth == 0 or "" not in named)


def _take_splits(paths: dict[str, tuple[str, ...]], depth: int) -> tuple[Item, ...]:
    splits = {
        name: SPLITS[folders[depth].lower()]
        for name, folders in paths.items()
        if len(folders) > depth and folders[depth].lower() in SPLITS
    }
    inside = {name: paths[name][:depth] + paths[name][depth + 1 :] for name in splits}
    inside = _unwrap(inside)
    return tuple(
        Item(name, folders[0] if folders else "", splits[name]) for name, folders in inside.items()
    )


def _name_kind(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    return show_name(suffix) if re.fullmatch(r"\.\S{1,12}", suffix) else "files without a suffix"


def _describe_nothing(target: Target, left_out: Counter[str]) -> str:
    what = f"matches {target.pattern}" if target.pattern else "in this folder or below it"
    found = ", ".join(count_left_out(left_out))
    return f"{show_name(target.folder)}: no image {what}" + (f" ({found})" if found else "")
