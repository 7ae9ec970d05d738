"""What this package leaves on a machine beside the store, and of that what may go."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vae.errors import describe_error
from vae.experiments.durations import format_age
from vae.scratch import TEMPORARY, find_abandoned, locate_base
from vae.tracking.sync import is_kept, is_sent
from vae.upkeep.plan import AT_WORK_S, Policy

OFFLINE_RUN = re.compile(r"offline-run-[0-9]{8}_[0-9]{6}-[\w.-]+")  # as W&B names their folders
OURS = (TEMPORARY, "vae-bench-")  # in TMPDIR


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A folder that may go."""

    path: Path
    why: str
    size_bytes: int


def find_leftovers(policy: Policy) -> list[Leftover]:
    """Those of W&B in this folder or WANDB_DIR, and those of killed processes in TMPDIR."""
    tracked = Path(os.environ.get("WANDB_DIR", "."), "wandb").absolute()
    found = [*find_synced(tracked, policy), *find_temporary(Path(tempfile.gettempdir()), policy)]
    for path in find_abandoned(locate_base()):
        why = "the process that it belonged to has ended"
        found.append(Leftover(path=path, why=why, size_bytes=measure(path)[0]))
    return sorted(found, key=lambda leftover: leftover.path)


def find_synced(directory: Path, policy: Policy) -> Iterator[Leftover]:
    """The offline runs that W&B has by now, or the store: marks beside their files say so."""
    for path in list_folders(directory):
        size_bytes, wrote_s = measure(path)
        age_s = policy.now_s - wrote_s
        old = age_s >= max(policy.older_than_s, AT_WORK_S)
        if OFFLINE_RUN.fullmatch(path.name) and old and (is_sent(path) or is_kept(path)):
            where = "synced" if is_sent(path) else "in its store"
            why = f"{where}, nothing written for {format_age(age_s)}"
            yield Leftover(path=path, why=why, size_bytes=size_bytes)


def find_temporary(directory: Path, policy: Policy) -> Iterator[Leftover]:
    """What killed processes left a day ago or longer."""
    for path in list_folders(directory):
        if path.name.startswith(OURS):
            size_bytes, wrote_s = measure(path)
            if policy.now_s - wrote_s >= AT_WORK_S:
                why = f"nothing written for {format_age(policy.now_s - wrote_s)}"
                yield Leftover(path=path, why=why, size_bytes=size_bytes)


def remove_leftovers(leftovers: list[Leftover]) -> list[str]:
    """Remove the folders; why those are left that are."""
    failed = []
    for leftover in leftovers:
        try:
            with suppress(FileNotFoundError):  # somebody else removed it
                shutil.rmtree(leftover.path)
        except OSError as error:
            failed.append(f"{leftover.path}: {describe_error(error)}")
    return failed


def list_folders(directory: Path) -> list[Path]:
    """The folders in a folder that belong to this user; links are none."""
    found = []
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # its owner has just ended
                if entry.is_dir(follow_symlinks=False) and entry.stat().st_uid == os.geteuid():
                    found.append(Path(entry.path))
    return sorted(found)


def measure(folder: Path) -> tuple[int, float]:
    """The size of all files in a folder, and when anything in it was last written.

    Of one that is gone by now nothing, and that it was written at this moment.
    """
    size_bytes, wrote_s = 0, time.time()
    with suppress(FileNotFoundError):
        wrote_s = folder.lstat().st_mtime
    for inside, folders, names in os.walk(folder):
        for name in folders + names:
            with suppress(FileNotFoundError):
                found = Path(inside, name).lstat()
                size_bytes += found.st_size if name in names else 0
                wrote_s = max(wrote_s, found.st_mtime)
    return size_bytes, wrote_s
