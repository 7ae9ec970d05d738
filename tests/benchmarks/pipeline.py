"""The README's figures of the whole: set-up, help, and the default run, in a fresh clone.

`python -m tests.benchmarks.pipeline` prints one table. Nothing here passes or fails: machines are
shared, so the split of a run's time says more than its sum.
"""

import os
import subprocess
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def timed(command: list[str], folder: Path) -> tuple[float, str]:
    """Seconds that a command took, and what it printed. Raises CalledProcessError."""
    environment = {**os.environ, "PREFECT_HOME": str(folder / ".prefect")}
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return time.monotonic() - began, done.stdout


def main() -> None:
    """Clone, set up, ask for help, run."""
    with tempfile.TemporaryDirectory(prefix="vae-bench-") as name:
        folder = Path(name) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(folder)], check=True)
        print(f"{timed(['make', 'setup'], folder)[0]:7.1f} s  make setup")
        helps = sorted(timed([".venv/bin/vae", "--help"], folder)[0] for _ in range(5))
        print(f"{helps[2]:7.2f} s  vae --help (median of 5)")
        seconds, output = timed(["make", "run"], folder)
        print(f"{seconds:7.1f} s  make run, after set-up")
        kept = ("search   trial", "evaluate", "time")
        lines = [line for line in output.splitlines() if line.startswith(kept) and "wins" in line]
        lines += [line for line in output.splitlines() if line.startswith(kept[1:])]
        print("\n".join(lines))


if __name__ == "__main__":
    main()
