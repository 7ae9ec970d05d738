"""What this process holds of its own: RssAnon. What is mapped, the kernel drops when it has to."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def read_status(name: str) -> float:
    """Megabytes of this process under one name of /proc."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.M)
    assert found
    return int(found[1]) / 1000


@contextmanager
def watch_peak(peak: list[float]) -> Iterator[None]:
    """Append the most that the process's own memory grows by meanwhile, in megabytes."""
    before, seen, done = read_status("RssAnon"), [0.0], threading.Event()

    def look() -> None:
        while not done.wait(0.01):
            seen.append(read_status("RssAnon") - before)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        peak.append(max(seen))
