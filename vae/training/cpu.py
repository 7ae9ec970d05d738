"""What makes a CPU fast at training: no pages asked for anew, no arithmetic on denormal numbers."""

import ctypes

import torch

KEPT_BYTES = 2**31 - 1  # of freed memory at the end of a heap, at most: what mallopt can be told
ON_THE_HEAP_BYTES = 2**25  # glibc's upper limit; a larger tensor has a mapping of its own
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # in glibc's malloc.h


def set_up_cpu() -> None:
    """For workers: the thread that trains or judges calls it before its first operation.

    Numbers below the normal ones (1e-38 in float32) become 0, in this thread and those that it
    starts. Importance weights are often so small, and an Intel CPU takes some hundred cycles for
    each product with one: a step on the bound of 50 samples takes twice as long with them.
    """
    keep_freed_memory()
    torch.set_flush_denormal(True)


def keep_freed_memory() -> None:
    """Have this process keep what it frees, as its every step asks for the same again.

    PyTorch leaves a CPU's memory to the C library. glibc's gives it back to the kernel after every
    step, and pages that come anew cost a convolutional step about an eighth of its time. Does
    nothing where the C library is another: musl and macOS have no such switch.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, ON_THE_HEAP_BYTES)
