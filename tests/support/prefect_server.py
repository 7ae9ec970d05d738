"""A real Prefect server on loopback, for the tests that need one."""

import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from flows.server import LEASES

READY_TIMEOUT_S = 120.0  # the first start makes the database
STOP_TIMEOUT_S = 30.0


@dataclass
class PrefectServer:
    """A running server, and the environment that reaches it and nothing else."""

    env: dict[str, str]
    process: subprocess.Popen[bytes]
    directory: Path

    @property
    def url(self) -> str:
        return self.env["PREFECT_API_URL"]

    def stop(self) -> None:
        """End the server and delete its database."""
        self._end()
        shutil.rmtree(self.directory)

    def restart(self) -> None:
        """End the server and start it again where it was, with what it had on disk."""
        self._end()
        self.process = _start_process(self.env, self.directory)
        if not _wait_ready(self):
            raise RuntimeError((self.directory / "server.log").read_text(errors="replace"))

    def _end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_prefect_server(attempts: int = 3) -> PrefectServer:
    """Start a server with its own database on a free loopback port, and wait until it answers.

    Raises RuntimeError with the server's log if no attempt came up, e.g. because a neighbour took
    the port first.
    """
    for _ in range(attempts):
        server = _launch(find_free_port())
        if _wait_ready(server):
            return server
        log = (server.directory / "server.log").read_text(errors="replace")
        server.stop()
    raise RuntimeError(f"the Prefect server did not start in {attempts} attempts:\n{log}")


def find_free_port() -> int:
    """A loopback port that nobody listens on, for the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _launch(port: int) -> PrefectServer:
    directory = Path(tempfile.mkdtemp(prefix="prefect-"))
    env = {
        "PREFECT_HOME": str(directory),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",  # or a moved schedule waits for 60
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES,
        "DO_NOT_TRACK": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    return PrefectServer(env, _start_process(env, directory), directory)


def _start_process(env: dict[str, str], directory: Path) -> "subprocess.Popen[bytes]":
    prefect = Path(sysconfig.get_path("scripts")) / "prefect"
    port = env["PREFECT_API_URL"].removesuffix("/api").rpartition(":")[2]
    command = [str(prefect), "server", "start", "--host", "127.0.0.1", "--port", port]
    with (directory / "server.log").open("ab") as log:
        return subprocess.Popen(
            [*command, "--no-ui"],
            env={k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")} | env,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _wait_ready(server: PrefectServer) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + READY_TIMEOUT_S
    while server.process.poll() is None and time.monotonic() < deadline:
        try:
            with opener.open(f"{server.url}/health", timeout=5):
                return True
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.1)
    return False
