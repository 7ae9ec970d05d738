"""What the kernel is told of the pages of mapped files: which come next, and which may go."""

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray


def announce(array: NDArray[Any], numbers_B: NDArray[np.int64]) -> None:
    """Have the kernel read some rows of a mapped file from the disk, all of them at once.

    Else each page is waited for by itself when it is copied, several to a row. It does nothing for
    an array in memory, or one whose rows are scattered.
    """
    mapped = find_map(array)
    if mapped is None or not len(numbers_B) or not array.flags.c_contiguous:
        return
    one = array[0].nbytes
    starts = len(mapped) - array.nbytes + np.sort(numbers_B) * one
    first, after = starts // mmap.PAGESIZE, (starts + one - 1) // mmap.PAGESIZE + 1
    cuts = np.flatnonzero(first[1:] > after[:-1]) + 1  # where a page lies between two rows
    for begin, end in zip(first[[0, *cuts]], after[[*(cuts - 1), -1]], strict=True):
        size = min(int(end) * mmap.PAGESIZE, len(mapped)) - int(begin) * mmap.PAGESIZE
        mapped.madvise(mmap.MADV_WILLNEED, int(begin) * mmap.PAGESIZE, size)


def release(array: NDArray[Any]) -> None:
    """Let go of what was read of a mapped array, which counts as this process's memory."""
    mapped = find_map(array)
    if mapped is not None:
        mapped.madvise(mmap.MADV_DONTNEED)


def find_map(array: NDArray[Any]) -> mmap.mmap | None:
    """The map of the file that an array is a view of, if it is one."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    return base if isinstance(base, mmap.mmap) else None
