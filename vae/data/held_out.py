"""Which images of a set that has no splits of its own are held out: by their content."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vae.data.formats import Parsed, Split
from vae.data.pixels import Pixels
from vae.errors import UserError

FEWEST_IMAGES = 14
FEWEST_HELD_OUT = 2  # a picture joins two of them


def hold_out(
    images: Pixels, labels_N: NDArray[np.int64], digests: Sequence[str], given: Sequence[str]
) -> Parsed:
    """Order by content, and split: as `given` ("train", "val", "test"; or "" for all of them).

    Without a test split that is given, it is about one training image in seven, MNIST's share. An
    image's SHA-256, its digest, decides, so that it keeps its place when others come: the test
    split has those below a seventh of all digests, and the validation split will have those next to
    them. What an older model was trained on is then never among the images by which a new one is to
    beat it. Raises UserError for too few images.
    """
    order = sorted(
        range(len(digests)), key=lambda row: (digests[row], int(labels_N[row])), reverse=True
    )
    rows = {
        split: [row for row in order if (given[row] or "train") == split]
        for split in ("train", "val", "test")
    }
    if not rows["test"]:
        rows["train"], rows["test"] = _cut(rows["train"], digests)
    _check_counts({split: len(rows[split]) for split in set(given) - {""}})
    whole = Split(images, labels_N)
    parts = {part: whole.choose(np.array(some, np.int64)) for part, some in rows.items()}
    shared = _count_shared(rows, digests)
    return Parsed(
        parts["train"],
        parts["test"],
        classes=int(labels_N.max()) + 1,
        val=parts["val"] if rows["val"] else None,
        notes=(f"{shared} images of val or test are also in another split",) if shared else (),
    )


def _cut(rows: list[int], digests: Sequence[str]) -> tuple[list[int], list[int]]:
    if len(rows) < FEWEST_IMAGES:
        raise UserError(
            f"{len(rows)} images are too few, must be at least {FEWEST_IMAGES}: one in seven is "
            "held out for the test, and a picture joins two of those"
        )
    below = sum(int(digests[row], 16) < 2**256 // 7 for row in rows)
    first = len(rows) - max(below, FEWEST_HELD_OUT)
    return rows[:first], rows[first:]


def _check_counts(counts: dict[str, int]) -> None:
    for split in ("val", "test"):
        if counts.get(split, FEWEST_HELD_OUT) < FEWEST_HELD_OUT:
            raise UserError(
                f"{counts[split]} image for {split} is too few, must be at least {FEWEST_HELD_OUT}"
            )


def _count_shared(rows: dict[str, list[int]], digests: Sequence[str]) -> int:
    """How many held-out images are, to the last pixel, in an earlier split too."""
    seen: set[str] = set()
    shared = 0
    for split in ("train", "val", "test"):
        own = [digests[row] for row in rows[split]]
        shared += sum(digest in seen for digest in own)
        seen.update(own)
    return shared
