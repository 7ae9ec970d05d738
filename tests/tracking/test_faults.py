"""What is left of tracking when W&B breaks: training never notices."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.wandb_runs import (
    history,
    inspect,
    warnings_in,
)
from vae.tracking.background import Background
from vae.tracking.tracker import Tracker
from vae.tracking.values import Label, Picture

pytestmark = pytest.mark.slow
CLOSED_SERVER = "http://127.0.0.1:9"  # the discard port: nothing listens
KEY = "0123456789" * 4


@pytest.mark.parametrize("where", ["environment", "netrc"])
def test_an_unreachable_server_means_offline(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a key but no server, everything is logged offline, and no caller waited for that."""
    if where == "environment":
        monkeypatch.setenv("WANDB_MODE", "online")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
    else:
        Path(os.environ["NETRC"]).write_text(f"machine 127.0.0.1:9 login user password {KEY}\n")
    monkeypatch.setenv("WANDB_BASE_URL", CLOSED_SERVER)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    with Tracker("run", tmp_path) as tracker:
        run = tracker.start_run(Label("final", "train", "final"), {})
        for epoch in range(200):
            run.log({"epoch": epoch}, step=epoch)
        assert tracker.paths == []  # W&B is still asking the server: the callers are ahead of it
    (path,) = tracker.paths
    assert history(inspect(path), "epoch") == list(range(200))
    (warning,) = warnings_in(caplog)
    assert warning.startswith("W&B: init failed, training goes on: CommError")


def test_online_without_a_key_is_offline_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """WANDB_MODE=online without a key asks nobody for one: it warns and stays offline."""
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:10")
    with Tracker("run", tmp_path) as tracker:
        tracker.start_run(Label("final", "train", "final"), {})
    assert len(tracker.paths) == 1
    assert warnings_in(caplog) == ["W&B is offline: WANDB_MODE is online, but no key is configured"]


def test_a_directory_that_cannot_be_made_costs_the_curves_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nothing can be written, calls return, close returns, and the loss is said aloud."""
    (tmp_path / "file").touch()
    with Tracker("run", tmp_path / "file" / "below") as tracker:
        run = tracker.start_run(Label("final", "train", "final"), {})
        run.log({"epoch": 0}, step=0)
    warnings = warnings_in(caplog)
    assert "NotADirectoryError" in warnings[0]
    assert warnings[-1] == "W&B did not receive 2 updates"
    assert tracker.paths == []


def test_a_bad_call_costs_itself_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After a call that W&B refuses, the run goes on; failures of one kind are warned of once."""
    with Tracker("run", tmp_path) as tracker:
        run = tracker.start_run(Label("test", "evaluate", "test"), {})
        for _ in range(2):
            run.show({"samples": Picture(b"\0", "not a picture")})
        run.log({"epoch": 3}, step=3)
    (path,) = tracker.paths
    assert history(inspect(path), "epoch") == [3]
    refused, lost = warnings_in(caplog)
    assert refused.startswith("W&B: show failed, training goes on: UnidentifiedImageError")
    assert lost == "W&B did not receive 2 updates"


def test_what_a_full_queue_drops_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """A queue whose consumer is stuck stays bounded; the rest is dropped, and told at close."""
    stuck, release, done = threading.Event(), threading.Event(), list[int]()

    def block() -> None:
        stuck.set()
        release.wait()

    background = Background("Library", logging.getLogger("vae.tracking"), limit=3)
    background.submit(block)
    stuck.wait()
    for number in range(10):
        background.submit(partial(done.append, number))
    background.submit(partial(done.append, 99), must=True)
    release.set()
    assert background.close(60.0)
    background.tell_lost()
    assert done == [0, 1, 2, 99]
    assert warnings_in(caplog) == ["Library did not receive 7 updates"]


SERVICE = textwrap.dedent(
    """
    import logging, os, signal, sys, time
    from pathlib import Path
    from vae.tracking.tracker import Tracker
    from vae.tracking.values import Label

    logging.basicConfig(level="WARNING", format="%(message)s")
    warned = []
    logging.getLogger("vae.tracking").addFilter(lambda record: warned.append(record) or True)

    def service():
        for folder in Path("/proc").glob("[0-9]*"):
            name, parent = (folder / "stat").read_text().rsplit(")", 1)
            if "wandb-core" in name and int(parent.split()[1]) == os.getpid():
                return int(folder.name)

    def wait_until(condition):
        while not condition():
            time.sleep(0.01)

    tracker = Tracker("run", Path(sys.argv[1]), close_seconds=float(sys.argv[2]))
    run = tracker.start_run(Label("final", "train", "final"), {})
    run.log({"epoch": 0}, step=0)
    wait_until(lambda: tracker.paths)
    pid = service()
    """
)


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run_script(script: str, directory: Path, *, close_seconds: float) -> Ended:
    """Run `script` after SERVICE. Through files: a service left behind would keep pipes open."""
    code = SERVICE + textwrap.dedent(script)
    command = [sys.executable, "-c", code, str(directory / "run"), str(close_seconds)]
    out, err = directory / "out", directory / "err"
    with out.open("w") as stdout, err.open("w") as stderr:
        ended = subprocess.run(command, stdout=stdout, stderr=stderr, timeout=60, check=False)
    return Ended(ended.returncode, out.read_text(), err.read_text())


linux_only = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


@linux_only
def test_a_killed_service_stops_nothing_and_the_next_run_is_tracked(tmp_path: Path) -> None:
    """After kill -9 of W&B's service, calls return, a warning says so, and a new run works."""
    script = """
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: run.log({"epoch": 1}, step=1) or warned)
    run.finish()
    tracker.start_run(Label("test", "evaluate", "test"), {}).log({"epoch": 5}, step=5)
    tracker.close()
    print(tracker.paths[1])
    """
    ended = run_script(script, tmp_path, close_seconds=60)
    assert ended.returncode == 0, ended.stderr
    assert "W&B: log failed, training goes on: " in ended.stderr
    assert "W&B did not receive" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert history(inspect(Path(ended.stdout.strip())), "epoch") == [5]


@linux_only
def test_a_stuck_service_delays_neither_close_nor_exit(tmp_path: Path) -> None:
    """With W&B's service stopped for good, close gives up at its deadline and the process ends."""
    script = """
    os.kill(pid, signal.SIGSTOP)
    print(pid, flush=True)
    run.log({"epoch": 1}, step=1)
    tracker.close()
    """
    ended = run_script(script, tmp_path, close_seconds=1)
    os.kill(int(ended.stdout), signal.SIGKILL)
    assert ended.returncode == 0, ended.stderr
    assert "W&B is stuck and left behind" in ended.stderr
    assert "Traceback" not in ended.stderr
