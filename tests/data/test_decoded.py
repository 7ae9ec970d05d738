"""Images decoded in parts: once each, whatever happened in between, and read back by number."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vae.data.decoded import PART_IMAGES, DecodedImages, Outcome, count_changes, keep_parts
from vae.data.traits import note
from vae.errors import UserError

COUNT = 2 * PART_IMAGES + 7


def decode(number: int) -> Outcome:
    """A grey or, each third time, a colour image; one in a hundred is broken."""
    if number % 100 == 99:
        return UserError(f"{number} is broken")
    image = np.random.default_rng(number).integers(0, 256, (1 + 2 * (number % 3 == 0), 2, 3))
    pixels = image.astype(np.uint8)
    return pixels, note(pixels), ("turned",) if number % 2 else ()


def test_what_was_decoded_before_a_failure_is_taken(tmp_path: Path) -> None:
    """The second attempt reads the parts that are missing alone, and gives the same images."""
    seen: list[range] = []

    def read(numbers: range) -> Iterator[Outcome]:
        seen.append(numbers)
        for number in numbers:
            if len(seen) == 2 and number == PART_IMAGES + 500:
                raise KeyboardInterrupt
            yield decode(number)

    with pytest.raises(KeyboardInterrupt):
        list(keep_parts(tmp_path, COUNT, read))
    parts = list(keep_parts(tmp_path, COUNT, read))
    starts = [numbers.start for numbers in seen]
    assert starts == [0, PART_IMAGES, PART_IMAGES, 2 * PART_IMAGES]
    found = [(part, kept) for part, of_part in parts for kept in of_part]
    assert next(kept.error for _, kept in found if kept.error) == "99 is broken"
    assert count_changes(kept for _, kept in found) == (f"{COUNT // 2 - COUNT // 100} turned",)
    whole = [(number, place) for number, place in enumerate(found) if not place[1].error]
    images = DecodedImages(tmp_path, [place for _, place in whole])
    assert images.shape == (len(whole), 3, 2, 3)
    for place, (number, _) in list(enumerate(whole))[::97]:
        pixels = decode(number)[0]  # type: ignore[index]
        assert (images[np.array([place])][0] == pixels).all()
    assert len(images[5:9]) == 4
