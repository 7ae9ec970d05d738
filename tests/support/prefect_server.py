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

READY_TIMEOUT_S = 120.0  # the first start makes the database
STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class PrefectServer:
    """A running server, and the environment that reaches it and nothing else."""

    env: dict[str, str]
    process: subprocess.Popen[bytes]
    directory: Path

    @property
    def url(self) -> str:
        return self.env["PREFECT_API_URL"]

    def stop(self) -> None:
        """End the server by its process id and delete its database."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory)


def start_prefect_server(attempts: int = 3) -> PrefectServer:
    """Start a server with its own database on a free loopback port, and wait until it answers.

    Raises RuntimeError with the server's log if no attempt came up, e.g. because a neighbour took
    the port first.
    """
    for _ in range(attempts):
        server = _launch(_free_port())
        if _wait_ready(server):
            return server
        log = (server.directory / "server.log").read_text(errors="replace")
        server.stop()
    raise RuntimeError(f"the Prefect server did not start in {attempts} attempts:\n{log}")


def _free_port() -> int:
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
        "DO_NOT_TRACK": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    prefect = Path(sysconfig.get_path("scripts")) / "prefect"
    command = [str(prefect), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--no-ui"],
            env={k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")} | env,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    return PrefectServer(env, process, directory)


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
