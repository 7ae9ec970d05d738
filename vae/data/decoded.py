"""Images decoded once, in parts that are kept in a folder until the set is in the store.

A part is written whole, its record last, so that after a kill those that are there are taken. Its
pixels may never reach the disk, since they go soon: those that a power cut took are found missing.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vae.data.images import Look
from vae.data.traits import Traits
from vae.errors import UserError
from vae.files import hash_bytes, reserve_beside, write_whole

PART_IMAGES, PART_BYTES = 250, 8_000_000  # of files, which take a core some tenths of a second

# An image [C, H, W], its traits and what was changed to show it; or why there is none.
Outcome = tuple[NDArray[np.uint8], Traits, tuple[str, ...]] | UserError


class Source(NamedTuple):
    """A file with an image: what it is called in its set, its SHA-256 and size."""

    name: str
    sha256: str
    size_bytes: int


class Part(NamedTuple):
    """Files that are decoded in one go, to `path` and the record beside it.

    `skip`: whether a broken file is noted rather than refused.
    """

    path: Path
    sources: tuple[Source, ...]
    look: Look
    skip: bool

    @property
    def record(self) -> Path:
        """Where it is written what became of each file."""
        return self.path.with_suffix(".json")


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
    """Uint8 images [N, C, H, W] in parts, grey ones repeated where others are not.

    `places`: the part of each image, and what was kept of it.
    """

    def __init__(self, places: Sequence[tuple[Path, Kept]]) -> None:
        self.places, self.channels = places, max(kept.shape[0] for _, kept in places)

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
            path, kept = self.places[number]
            whole = read_pixels(path, kept, image)
            assert whole
        return images


def read_pixels(path: Path, kept: Kept, into_CHW: NDArray[np.uint8]) -> bool:
    """Read an image of a part, a grey one for all channels; whether it is there to its end.

    The part is not left open: there may be thousands of them.
    """
    own = into_CHW[: kept.shape[0]]
    with path.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):  # else the kernel reads what is around it as well
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        file.seek(kept.at)
        whole = file.readinto(own.data) == own.nbytes
    into_CHW[len(own) :] = own[:1]
    return whole


def cut_parts(sources: Iterable[Source], look: Look, skip: bool, folder: Path) -> list[Part]:
    """All parts of a set, in order.

    What a part is called follows from its content too: when the same set is taken up again, its
    files may have other names, and so another order.
    """
    return [
        Part(folder / f"decoded-{number:06}-{_hash_sources(cut)[:16]}.bin", cut, look, skip)
        for number, cut in enumerate(_cut(sources))
    ]


def _cut(sources: Iterable[Source]) -> Iterator[tuple[Source, ...]]:
    cut, size_bytes = list[Source](), 0
    for source in sources:
        cut.append(source)
        size_bytes += source.size_bytes
        if len(cut) == PART_IMAGES or size_bytes >= PART_BYTES:
            yield tuple(cut)
            cut, size_bytes = [], 0
    if cut:
        yield tuple(cut)


def _hash_sources(sources: Iterable[Source]) -> str:
    return hash_bytes("".join(source.sha256 for source in sources).encode())


def keep(part: Part, outcomes: Iterable[Outcome]) -> None:
    """Write the pixels of a part, image by image, then its record."""
    kept = []
    with reserve_beside(part.path) as temporary:
        with temporary.open("xb") as file:
            for outcome in outcomes:
                if isinstance(outcome, UserError):
                    kept.append(Kept(error=str(outcome)))
                    continue
                image, traits, changes = outcome
                kept.append(Kept(image.shape, traits, changes, file.tell()))
                file.write(image.data)
        os.replace(temporary, part.path)
    write_whole(part.record, json.dumps(kept).encode())


def is_kept(part: Part) -> bool:
    """Whether a part is there, by its record and to the last pixel."""
    if not (part.record.exists() and part.path.exists()):
        return False
    return all(one.error or _is_whole(part.path, one) for one in read_kept(part))


def _is_whole(path: Path, kept: Kept) -> bool:
    image = np.empty(kept.shape, np.uint8)
    return read_pixels(path, kept, image) and hash_bytes(image.data) == kept.traits.digest


def read_kept(part: Part) -> list[Kept]:
    """What became of each file of a part that is there."""
    return [_parse_kept(*one) for one in json.loads(part.record.read_bytes())]


def _parse_kept(
    shape: Sequence[int], traits: Sequence[object], changes: Sequence[str], at: int, error: str
) -> Kept:
    """Undo what JSON makes of tuples."""
    return Kept(tuple(shape), Traits(*traits), tuple(changes), at, error)  # type: ignore[arg-type]


def count_changes(kept: Iterable[Kept]) -> tuple[str, ...]:
    """What was changed to show the images: '14 turned upright as EXIF says'."""
    counts = Counter(change for one in kept for change in one.changes)
    return tuple(f"{count} {change}" for change, count in sorted(counts.items()))
