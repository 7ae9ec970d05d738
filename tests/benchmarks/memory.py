"""What this process and its children hold of their own: RssAnon.

What is mapped does not count: the kernel drops it when it has to.
"""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def read_held() -> float:
    """Megabytes of this process and its children."""
    return sum(_read_held(pid) for pid in (os.getpid(), *_list_children()))


def _list_children() -> list[int]:
    """Those of all threads; a thread may end meanwhile."""
    found = ""
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):
            found += path.read_text()
    return [int(pid) for pid in found.split()]


def _read_held(pid: int) -> float:
    with suppress(FileNotFoundError, ProcessLookupError):
        status = Path(f"/proc/{pid}/status").read_text()
        found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.M)
        return int(found[1]) / 1000 if found else 0.0
    return 0.0  # it has ended


@contextmanager
def watch_peak(peak: list[float]) -> Iterator[None]:
    """Append the most that this grows by meanwhile, in megabytes."""
    before, seen, done = read_held(), [0.0], threading.Event()

    def look() -> None:
        while not done.wait(0.02):
            seen.append(read_held() - before)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        peak.append(max(seen))
