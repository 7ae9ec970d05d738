"""How many CPUs there are for this process."""

import math
import os
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def count_cpus() -> int:
    """CPUs that this process may use, at least 1: by its affinity, and a container's quota."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:  # macOS
        allowed = os.cpu_count() or 1
    return max(1, min(allowed, math.ceil(min(allowed, read_quota()))))


def read_quota(cgroup: Path = CGROUP) -> float:
    """CPUs whose time Docker, Kubernetes or CI grant, by control groups of either version.

    Infinite where nothing limits it.
    """
    with suppress(OSError, ValueError):  # "max 100000" without a limit
        quota, period = (cgroup / "cpu.max").read_text().split()
        return int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota, period = (
            (cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
        )
        if int(quota) > 0:  # -1 without a limit
            return int(quota) / int(period)
    return math.inf
