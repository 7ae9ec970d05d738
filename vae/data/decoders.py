"""Processes that decode images: threads of one Python keep little more than one core at work.

They are plain children of this process rather than Ray's tasks, because `vae data` has no Ray
session, and to start one takes longer than to decode thousands of images; nor are they of
multiprocessing, which runs the caller's main module again, and leaves its children behind where it
is killed. These import nothing but what decodes, and end when their input does.
"""

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue

from vae.cpus import count_cpus
from vae.data import decoding
from vae.data.decoded import Kept, Part, is_kept, read_kept
from vae.data.in_order import map_in_order
from vae.data.places import LocalFolder, Place
from vae.errors import UserError

FEW_PARTS = 2  # are decoded in the time that a process takes to start
READERS = 16  # threads: of what lies elsewhere, each file is a request
MOST_PROCESSES = 32  # of some 40 MB each
# One picture's memory is taken again for the next instead of going back to the kernel; the
# variables are glibc's. And there is nothing for threads of numpy's to do.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "268435456",
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    "OPENBLAS_NUM_THREADS": "1",
}


def decode_all(place: Place, parts: Sequence[Part]) -> Iterator[tuple[Part, list[Kept]]]:
    """Yield every part, in order, with what was kept of its files.

    Those that are there already are taken. Raises UserError for the first file, in order, that is
    to blame, and OSError where the parts can't be written.
    """
    missing = sum(not part.record.exists() for part in parts)
    most = min(missing, count_cpus(), MOST_PROCESSES)
    with Decoders(0 if missing <= FEW_PARTS else most) as decoders:

        def take(part: Part) -> tuple[Part, list[Kept]]:
            if not is_kept(part):
                with bring(place, part) as (folder, files):
                    decoders.decode(part, folder, files)
            return part, read_kept(part)

        yield from map_in_order(take, parts, threads=decoders.at_once)


class Decoders:
    """Processes that decode one part at a time; none of them, and this one does it itself."""

    def __init__(self, count: int) -> None:
        self.processes = [_start() for _ in range(count)]
        self.at_once = max(1, 2 * count)  # so that the next part's files come meanwhile
        self.idle = SimpleQueue[subprocess.Popen[bytes]]()
        for process in self.processes:
            self.idle.put(process)

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()  # it has nothing to do, or nobody waits for it any more
        for process in self.processes:
            with suppress(BrokenPipeError), process:  # its pipes; what it was asked may be in one
                pass

    def decode(self, part: Part, folder: Path, files: list[str]) -> None:
        """Do `decode_part`. Raises what that raises, and UserError if a process was killed."""
        if not self.processes:
            return decoding.decode_part(part, folder, files)
        process = self.idle.get()
        try:
            _ask(process, (part, folder, files))
        finally:
            self.idle.put(process)


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # -P: never a module of the current folder
        [sys.executable, "-P", "-m", decoding.__name__],
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for who waits for it
    )


def _ask(process: subprocess.Popen[bytes], request: tuple[Part, Path, list[str]]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        pickle.dump(request, process.stdin)
        process.stdin.flush()
        error = pickle.load(process.stdout)
    except (BrokenPipeError, EOFError, pickle.UnpicklingError) as gone:
        raise UserError(
            f"a process that decodes images ended with status {process.wait()}, for want of memory "
            "if that is -9; what was decoded is kept for the next attempt"
        ) from gone
    if error is not None:
        raise error


@contextmanager
def bring(place: Place, part: Part) -> Iterator[tuple[Path, list[str]]]:
    """A folder of this machine, and what the files of a part are called in it."""
    names = [source.name for source in part.sources]
    if isinstance(place, LocalFolder):
        yield place.root, names
        return
    with tempfile.TemporaryDirectory(dir=part.path.parent) as folder:
        wanted = [(name, Path(folder, str(number))) for number, name in enumerate(names)]
        fetched = map_in_order(lambda one: _fetch(place, *one), wanted, READERS)
        yield Path(folder), [str(path.relative_to(folder)) for path in fetched]


def _fetch(place: Place, name: str, folder: Path) -> Path:
    folder.mkdir()
    return place.fetch(name, folder)
