"""What a command and its processes put aside: in one folder, marked as ours, that goes with them.

Python, Ray's workers and W&B make folders of their own in TMPDIR and leave them when they are
killed. TMPDIR is therefore a folder that its owner holds a lock on: the next command removes those
that nobody holds.
"""

import atexit
import fcntl
import functools
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from vae.errors import UserError

PREFIX = "vae-scratch-"
TEMPORARY = "vae-temporary-"  # how the folders of `open_temporary` begin, by which gc knows them
OWNER = "owner"  # locked as long as a process that may use the folder lives
SHORT = "/tmp"
# Ray's sockets lie 68 characters below TMPDIR, and the address of a socket has 107 at most.
LONGEST = 38
HELD: list[object] = []  # closing a file would unlock it


@functools.cache
def claim_scratch() -> Path:
    """Make this process's folder and let TMPDIR be it, here and in what is started from now on.

    Ray keeps its logs, which outlive the process, beside it: in RAY_TMPDIR, in TMPDIR, or in /tmp
    where that is too long for a socket. Raises UserError where no folder can be made.
    """
    base = locate_base()
    try:
        for path in find_abandoned(base):
            shutil.rmtree(path, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        hold(folder)
    except OSError as error:
        raise UserError(
            f"temporary folder {base}: {error.strerror}; make room in it, or name another in "
            "TMPDIR or RAY_TMPDIR"
        ) from error
    os.environ.setdefault("RAY_TMPDIR", str(base))
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def open_temporary(purpose: str) -> tempfile.TemporaryDirectory[str]:
    """A folder in TMPDIR that goes with its context; a command that runs no flow has no other.

    `vae gc` removes those that a kill has left.
    """
    return tempfile.TemporaryDirectory(prefix=f"{TEMPORARY}{purpose}-")


def locate_base() -> Path:
    """The folder in which the scratch folders are."""
    if "RAY_TMPDIR" in os.environ:  # set by hand, or when this process's folder was made
        return Path(os.environ["RAY_TMPDIR"])
    given = Path(tempfile.gettempdir())
    return given if len(os.fsencode(given)) <= LONGEST else Path(SHORT)


def hold(folder: Path) -> None:
    """Lock a folder until this process and its forks have ended."""
    unfinished = folder / f"{OWNER}-{os.getpid()}"
    file = unfinished.open("wb")
    fcntl.flock(file, fcntl.LOCK_EX)
    unfinished.rename(folder / OWNER)  # locked as soon as anybody can see it
    HELD.append(file)


def find_abandoned(base: Path) -> list[Path]:
    """This user's scratch folders that nobody holds any more, sorted."""
    return sorted(path for path in base.glob(f"{PREFIX}*") if is_abandoned(path))


def is_abandoned(folder: Path) -> bool:
    """Whether its owner has ended. One without an owner as yet is just being made."""
    with suppress(OSError), (folder / OWNER).open("rb") as file:  # held, gone, another user's
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return folder.lstat().st_uid == os.geteuid()
    return False
