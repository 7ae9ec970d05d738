"""Images decoded in parts: once each, whatever happened in between, and read back by number."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vae.data.decoded import PART_BYTES, DecodedImages, Part, Source, count_changes, cut_parts
from vae.data.decoders import FEW_PARTS, Decoders, decode_all
from vae.data.images import Look
from vae.data.places import LocalFolder
from vae.errors import UserError
from vae.files import hash_bytes

MANY = FEW_PARTS + 4  # parts, which processes decode


def draw(number: int) -> NDArray[np.uint8]:
    """A grey or, each third time, a colour image [H, W] or [H, W, 3]."""
    shape = (2, 5, 3) if number % 3 == 0 else (2, 5)
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def write(folder: Path, number: int, data: bytes = b"") -> Source:
    """A file of these bytes, or of the image of this number; it is a part by itself."""
    buffer = io.BytesIO(data)
    if not data:
        Image.fromarray(draw(number)).save(buffer, "PNG")
    folder.mkdir(exist_ok=True)
    (folder / f"{number}.png").write_bytes(buffer.getvalue())
    return Source(f"{number}.png", hash_bytes(buffer.getvalue()), PART_BYTES)


def cut(sources: Sequence[Source], folder: Path, skip: bool = False) -> list[Part]:
    """Their parts, in a folder."""
    folder.mkdir(exist_ok=True)
    return cut_parts(sources, Look(), skip, folder)


def test_what_was_decoded_before_a_failure_is_taken(tmp_path: Path) -> None:
    """The second attempt reads the missing parts alone; a part is known by its content."""
    place, work = LocalFolder(tmp_path / "set"), tmp_path / "work"
    sources = [write(place.root, 1), write(place.root, 2, b"broken")]
    with pytest.raises(UserError, match=r"^2\.png: not an image"):
        list(decode_all(place, cut(sources, work)))
    (place.root / "1.png").unlink()
    found = list(decode_all(place, cut(sources, work, skip=True)))
    assert [kept.error for _, of_part in found for kept in of_part] == [
        "",
        "2.png: not an image: of no known format",
    ]
    with pytest.raises(UserError, match=r"1\.png: cannot be read"):
        list(decode_all(place, cut(sources[::-1], work, skip=True)))


@pytest.mark.parametrize("left", [b"", bytes(20), None], ids=["empty", "zeros", "no file"])
def test_pixels_that_a_power_cut_took_are_decoded_again(tmp_path: Path, left: bytes | None) -> None:
    """The record of a part may be on the disk while its pixels are not."""
    place = LocalFolder(tmp_path / "set")
    parts = cut([write(place.root, 1)], tmp_path / "work")
    for _ in range(2):
        [(part, [kept])] = decode_all(place, parts)
        assert (DecodedImages([(part.path, kept)])[:1][0, 0] == draw(1)).all()
        part.path.unlink()
        if left is not None:
            part.path.write_bytes(left)


def test_a_file_that_changed_since_it_was_hashed_is_refused(tmp_path: Path) -> None:
    """So that what is in the store is what the set's name was derived from."""
    source = write(tmp_path / "set", 1)
    write(tmp_path / "set", 1, b"another")
    with pytest.raises(UserError, match=r"^1\.png: it has changed"):
        list(decode_all(LocalFolder(tmp_path / "set"), cut([source], tmp_path, skip=True)))


@pytest.mark.slow
def test_processes_decode_what_one_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, with the first error in order, and without a module of the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("numpy", "pickle", "vae"):
        Path(f"{name}.py").write_text("raise SystemExit('not this one')")
    place = LocalFolder(tmp_path / "set")
    sources = [write(place.root, number) for number in range(MANY)]
    found = list(decode_all(place, cut(sources, tmp_path / "work")))
    assert count_changes(kept for _, of_part in found for kept in of_part) == ()
    images = DecodedImages([(part.path, kept) for part, of_part in found for kept in of_part])
    assert images.shape == (MANY, 3, 2, 5)
    for number in range(MANY):
        shown = np.moveaxis(np.atleast_3d(draw(number)), -1, 0)
        assert (images[np.array([number])][0] == shown).all()
    assert len(images[1:3]) == 2
    for number in (4, 3):
        sources[number] = write(place.root, number, b"broken")
    with pytest.raises(UserError, match=r"^3\.png: not an image"):
        list(decode_all(place, cut(sources, tmp_path / "more")))


ABANDONED = """
import os, signal
from vae.data.decoders import Decoders
Decoders(2)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_processes_end_with_who_started_them(tmp_path: Path) -> None:
    """After kill -9 too: their output, which they share with it, is closed once all are gone."""
    ran = subprocess.run([sys.executable, "-c", ABANDONED], stderr=subprocess.PIPE, timeout=60)
    assert ran.returncode == -signal.SIGKILL
    assert ran.stderr == b""
    source = write(tmp_path / "set", 1)
    with Decoders(1) as decoders:
        os.kill(decoders.processes[0].pid, signal.SIGKILL)
        with pytest.raises(UserError, match=r"a process that decodes images ended with status -9"):
            decoders.decode(cut([source], tmp_path)[0], tmp_path / "set", [source.name])
