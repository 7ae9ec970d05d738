"""The worker's entry point ends both of its processes, in order, whichever ends first."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.repository import INFRA

WAIT = 'while kill -0 "$PPID" 2>/dev/null; do sleep 0.02; done'
# As the real one does: SIGTERM makes it send itself SIGINT, and a second SIGTERM kills it.
WORKER = f"""#!/usr/bin/env bash
trap 'trap "echo worker killed; exit 1" TERM; kill -INT $$' TERM
trap 'echo worker stopped; exit 0' INT
echo worker started
{WAIT}
"""
RAYLET = f"""#!/usr/bin/env bash
trap 'echo raylet stopped; exit 0' TERM
echo raylet started
{WAIT}
"""
BROKEN = """#!/usr/bin/env bash
echo raylet started
until [[ -e "$RAY_ADDRESS" ]]; do sleep 0.02; done
exit 3
"""


def hear_sigint() -> None:
    """What a shell has started in the background ignores SIGINT, and so would all it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def entry_point(folder: Path, raylet: str) -> Iterator[subprocess.Popen[str]]:
    """Run the entry point with small programs in the place of prefect and ray, until they run."""
    for name, text in {"prefect": WORKER, "ray": raylet}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    path = f"{folder}{os.pathsep}{os.defpath}"
    environment = {"PATH": path, "PREFECT_DEFAULT_WORK_POOL_NAME": "pool"}
    environment["RAY_ADDRESS"] = str(folder / "address")
    program = ["bash", str(INFRA / "worker.sh")]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, text=True, env=environment, preexec_fn=hear_sigint
    ) as process:
        assert process.stdout
        started = sorted(process.stdout.readline() for _ in range(2))
        assert started == ["raylet started\n", "worker started\n"]
        try:
            yield process
        finally:
            process.kill()


def test_signal_stops_the_worker_then_the_raylet(tmp_path: Path) -> None:
    """SIGTERM reaches the worker, and the raylet outlives it."""
    with entry_point(tmp_path, RAYLET) as process:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    assert output == "worker stopped\nraylet stopped\n"
    assert process.returncode == 128 + signal.SIGTERM


def test_lost_raylet_stops_the_worker(tmp_path: Path) -> None:
    """Without its raylet the worker is stopped, and the status is the raylet's."""
    with entry_point(tmp_path, BROKEN) as process:
        (tmp_path / "address").touch()
        output, _ = process.communicate(timeout=30)
    assert output == "worker stopped\n"
    assert process.returncode == 3
