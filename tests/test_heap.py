"""What a process keeps of the memory that it frees."""

import platform
import subprocess
import sys

import pytest

SIZE_MB, TENSORS = 4, 20
FREE_TENSORS = f"""
import sys
import torch
from vae.heap import keep_freed_memory

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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the switch")
def test_freed_memory_stays_with_the_process_that_asked_for_that() -> None:
    """Half of what was freed, at least; without the call it goes back to the kernel."""
    given_back, kept = (resident_after_mb(*arguments) for arguments in ((), ("keep",)))
    assert given_back < SIZE_MB * TENSORS / 2 < kept


def resident_after_mb(*arguments: str) -> float:
    """By how much a fresh process has grown once its tensors are freed."""
    command = [sys.executable, "-c", FREE_TENSORS, *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
