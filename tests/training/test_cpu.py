"""What a worker does with the memory that it frees, and with numbers too small to matter."""

import platform
import subprocess
import sys

import pytest
import torch

pytestmark = pytest.mark.slow
SIZE_MB, TENSORS = 4, 20
FREE_TENSORS = f"""
import sys
import torch
from vae.training.cpu import keep_freed_memory

def resident_mb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024

if "keep" in sys.argv:
    keep_freed_memory()
before = resident_mb()
tensors = [torch.zeros({SIZE_MB} * 2**18) for _ in range({TENSORS})]
del tensors
print(resident_mb() - before)
"""

PRODUCTS_BELOW_NORMAL = """
import sys
from concurrent.futures import ThreadPoolExecutor
import torch
from vae.training.cpu import set_up_cpu

def nonzero():
    if "set up" in sys.argv:
        set_up_cpu()
    torch.set_num_threads(2)
    return int((torch.full((2**18,), 1e-30) * 1e-10).count_nonzero())

with ThreadPoolExecutor() as threads:
    print(threads.submit(nonzero).result())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the switch")
def test_freed_memory_stays_with_the_process_that_asked_for_that() -> None:
    """Half of what was freed, at least; without the call it goes back to the kernel."""
    given_back, kept = printed(FREE_TENSORS), printed(FREE_TENSORS, "keep")
    assert given_back < SIZE_MB * TENSORS / 2 < kept


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="the CPU has no such switch")
def test_no_thread_of_a_worker_computes_with_denormals() -> None:
    """Not in the thread of Ray's that trains, nor in those that share its operations."""
    assert printed(PRODUCTS_BELOW_NORMAL) == 2**18
    assert printed(PRODUCTS_BELOW_NORMAL, "set up") == 0


def printed(program: str, *arguments: str) -> float:
    """The one number that a fresh process prints."""
    command = [sys.executable, "-c", program, *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
