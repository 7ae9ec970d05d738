"""How fast a disk gives the rows of a file that is not in memory: in order, and at random."""

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

AT_ONCE, READERS = 1 << 20, 16  # bytes of a read, threads


def read_in_order(path: Path, row_bytes: int) -> float:
    """Rows/s of a file from its beginning to its end."""
    buffer, at = bytearray(AT_ONCE), 0
    descriptor = _open_cold(path)
    began = time.perf_counter()
    while count := os.preadv(descriptor, [buffer], at):
        at += count
    taken = time.perf_counter() - began
    os.close(descriptor)
    return at / row_bytes / taken


def read_rows(path: Path, row_bytes: int, count: int = 4_096) -> float:
    """Rows/s of a file in any order, each read by itself, READERS at a time."""
    starts = random.Random(0).choices(range(path.stat().st_size // row_bytes), k=count)
    descriptor = _open_cold(path)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)

    def read(row: int) -> None:
        os.pread(descriptor, row_bytes, row * row_bytes)

    began = time.perf_counter()
    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(read, starts))
    taken = time.perf_counter() - began
    os.close(descriptor)
    return count / taken


def _open_cold(path: Path) -> int:
    """Open a file of which the kernel has nothing in memory; nobody may have it mapped."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return descriptor
