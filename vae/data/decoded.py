"""Images decoded once, in parts that are kept in a folder until the set is in the store.

A part is written whole, its record last, so that after a kill those that are there are taken.
"""

import json
import mmap
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vae.data.traits import Traits
from vae.errors import UserError
from vae.files import reserve_beside, write_whole

PART_IMAGES = 1000

# An image [C, H, W], its traits and what was changed to show it; or why there is none.
Outcome = tuple[NDArray[np.uint8], Traits, tuple[str, ...]] | UserError


class Kept(NamedTuple):
    """What became of one file: its image's shape [C, H, W], traits and changes, or the error.

    `at`: where its pixels begin in its part.
    """

    shape: tuple[int, ...] = ()
    traits: Traits = Traits("", 0, 0, False)
    changes: tuple[str, ...] = ()
    at: int = 0
    error: str = ""


class DecodedImages:
    """Uint8 images [N, C, H, W] in the parts of a folder, grey ones repeated where others are not.

    `places`: the part of each image, and what was kept of it.
    """

    def __init__(self, folder: Path, places: Sequence[tuple[int, Kept]]) -> None:
        self.places, self.channels = places, max(kept.shape[0] for _, kept in places)
        self.parts = {part: map_bytes(folder / name_part(part)) for part, _ in places}

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, C, H, W]."""
        return (len(self.places), self.channels, *self.places[0][1].shape[1:])

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[np.uint8]:
        numbers = range(len(self))[rows] if isinstance(rows, slice) else rows
        images = np.empty((len(numbers), *self.shape[1:]), np.uint8)
        for image, number in zip(images, numbers, strict=True):
            part, kept = self.places[number]
            size = int(np.prod(kept.shape))
            image[:] = self.parts[part][kept.at : kept.at + size].reshape(kept.shape)
        return images


def name_part(part: int) -> str:
    """The file of a part's pixels."""
    return f"decoded-{part:06}.bin"


def map_bytes(path: Path) -> NDArray[np.uint8]:
    """A file's bytes, mapped; those of an empty one."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return np.empty(0, np.uint8)
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def keep_parts(
    folder: Path, count: int, read: Callable[[range], Iterable[Outcome]]
) -> Iterator[tuple[int, list[Kept]]]:
    """Yield every part of `count` images and what was kept of each, those that are there unread.

    `read` decodes some of them in order.
    """
    for part, start in enumerate(range(0, count, PART_IMAGES)):
        record = folder / f"decoded-{part:06}.json"
        with suppress(FileNotFoundError):
            yield part, [parse_kept(*one) for one in json.loads(record.read_bytes())]
            continue
        kept = keep(folder / name_part(part), read(range(start, min(start + PART_IMAGES, count))))
        write_whole(record, json.dumps(kept).encode())
        yield part, kept


def parse_kept(
    shape: Sequence[int], traits: Sequence[object], changes: Sequence[str], at: int, error: str
) -> Kept:
    """Undo what JSON makes of tuples."""
    return Kept(tuple(shape), Traits(*traits), tuple(changes), at, error)  # type: ignore[arg-type]


def keep(path: Path, outcomes: Iterable[Outcome]) -> list[Kept]:
    """Write the pixels of a part, image by image."""
    kept = []
    with reserve_beside(path) as temporary:
        with temporary.open("xb") as file:
            for outcome in outcomes:
                if isinstance(outcome, UserError):
                    kept.append(Kept(error=str(outcome)))
                    continue
                image, traits, changes = outcome
                kept.append(Kept(image.shape, traits, changes, file.tell()))
                file.write(image.tobytes())
        os.replace(temporary, path)
    return kept


def count_changes(kept: Iterable[Kept]) -> tuple[str, ...]:
    """What was changed to show the images: '14 turned upright as EXIF says'."""
    counts = Counter(change for one in kept for change in one.changes)
    return tuple(f"{count} {change}" for change, count in sorted(counts.items()))
