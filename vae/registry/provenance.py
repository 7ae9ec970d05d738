"""Where the code of a version came from, and on what machine it was published."""

import functools
import os
import platform
import socket
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
IMAGE = "VAE_IMAGE"  # set by whoever runs a container: its image with the digest


def describe_origin(workers: object, seconds: float) -> dict[str, Any]:
    """What a manifest says of how a version was made.

    `workers`: how many were to train it, as Ray takes it; None where that isn't known. `seconds`:
    that its stages took together.
    """
    return {
        "revision": read_revision(),
        "image": os.environ.get(IMAGE, ""),
        "host": socket.gethostname(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "workers": workers,
        "seconds": round(seconds, 1),
        "published": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@functools.cache
def read_revision() -> str:
    """The git commit of this package, and whether files of it differ; "" where it is installed."""
    if not (PACKAGE.parent / ".git").exists():
        return ""
    commit = run_git("rev-parse", "HEAD")
    changed = run_git("status", "--porcelain", "--untracked-files=no")
    return f"{commit}{' and changes' if changed else ''}" if commit else ""


def run_git(*arguments: str) -> str:
    """What git says in the package's folder; nothing where there is no git, or it refuses."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=PACKAGE, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


@functools.cache
def read_branch() -> str:
    """The git branch that this package is on; "" where there is none."""
    return run_git("branch", "--show-current") if (PACKAGE.parent / ".git").exists() else ""
