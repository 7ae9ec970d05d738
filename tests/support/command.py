"""The command line in processes of its own, and what becomes of those."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

VAE = Path(sys.executable).with_name("vae")
DEADLINE_S = 180.0


def vae(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [VAE, *arguments], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


class Started:
    """A command at work in a process group of its own, as a terminal starts one."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self.log = cwd / f"{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [VAE, *arguments], cwd=cwd, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def until(self, happened: Callable[[], object]) -> None:
        """Wait until something has happened, while the command is at work."""
        deadline = time.monotonic() + DEADLINE_S
        while not happened():
            assert self.process.poll() is None and time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def stop(self, number: signal.Signals) -> int:
        """Send its process group a signal, as a terminal does for Ctrl-C; its exit status."""
        os.killpg(self.process.pid, number)
        return self.process.wait(DEADLINE_S)


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and those that they did."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
            children = [int(child) for child in task.read_text().split()]
            found += children + [one for child in children for one in descendants(child)]
    return found


def named(pid: int) -> str:
    """What a process calls itself; nothing if it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def wait_for_end(pids: list[int]) -> None:
    """Until the processes have ended; fails with their names after half a minute."""
    deadline = time.monotonic() + 30
    while left := [name for pid in pids if (name := named(pid))]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
