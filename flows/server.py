"""The Prefect server of a command that was given none: it lives exactly as long as the command.

Prefect can start such a server itself, but not so that a command ends well:

- Ctrl-C in a terminal reaches Prefect's server too. It would end before the flow has told it that
  the run was interrupted. This one has a session of its own, out of the terminal's reach.
- After a SIGKILL of the command Prefect's server would run for ever. This one ends with its
  standard input, which the command holds.
- Prefect starts its server at the first call, and the command waits. This one starts while the
  command imports the rest.
- If Prefect's server is killed, the run fails at its next call. This one is started again, at the
  same address with the same database, and Prefect's client asks again until it answers.
"""

import atexit
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from vae.errors import UserError, extract_message

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/api")
RAISED = re.compile(r"[\w.]+(Error|Exception)\b")  # how a traceback ends
LOOPBACK = "127.0.0.1"
RESTARTS = 3  # of a server that ends before the command does
# On disk: those in the server's memory end with it, and the slots in its database stay taken.
LEASES = "prefect.server.concurrency.lease_storage.filesystem"

log = logging.getLogger("vae.server")


class Server:
    """The server's process, and where it says what is wrong."""

    def __init__(self) -> None:
        self.port = 0  # any that is free
        self.errors: IO[str] = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self.ending = threading.Event()
        self.starting = threading.Lock()
        self.process = self.start()

    def start(self) -> subprocess.Popen[str]:
        """Start the process; it says where it answers once it does."""
        settings = get_current_settings().to_environment_variables(exclude_unset=True)
        return subprocess.Popen(
            # -P: never a module of the current folder
            [sys.executable, "-P", "-m", __name__, str(self.port)],
            env={"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES} | os.environ | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            start_new_session=True,
        )

    def keep(self) -> None:
        """Start it again at its port whenever it ends, until it is to end, or RESTARTS times."""
        for _ in range(RESTARTS):
            status = self.process.wait()
            with self.starting:
                if self.ending.is_set():
                    return
                log.warning("Prefect's own server ended with status %d, starting it again", status)
                with self.process:  # its pipes
                    pass
                self.process = self.start()
        if self.process.wait() and not self.ending.is_set():
            log.warning("Prefect's own server ended %d times: it is left so", RESTARTS + 1)

    def let_end(self) -> None:
        """Have it started no more."""
        with self.starting:
            self.ending.set()

    def end(self) -> None:
        """End it and wait until it has."""
        self.let_end()
        self.process.communicate()


def launch_server() -> Server | None:
    """A server that is starting, or none where the settings name one or forbid it.

    It ends with this process, however that ends. Raises UserError where its database has no place,
    and on a machine where it could not answer.
    """
    settings = get_current_settings()
    if settings.api.url or not settings.server.ephemeral.enabled:
        return None
    check_home(settings.home)
    check_loopback()
    bypass_proxy()
    server = Server()
    atexit.register(server.end)  # runs after Prefect has sent the last of its logs
    return server


def check_loopback() -> None:
    """Raise UserError if this machine has no loopback of IPv4, at which Ray answers as well."""
    try:
        socket.create_server((LOOPBACK, 0)).close()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise UserError(
            f"nothing can listen at {LOOPBACK} ({reason}), where Prefect's server and Ray are to "
            f"answer: ip addr add {LOOPBACK}/8 dev lo"
        ) from error


def check_home(home: Path) -> None:
    """Raise UserError unless Prefect's folder can be written."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise UserError(
            f"Prefect can't write in {home} ({error.strerror}): set PREFECT_HOME to another folder"
        ) from error


def bypass_proxy() -> None:
    """Have this process and those that it starts ask loopback themselves, through no proxy."""
    for name in ("NO_PROXY", "no_proxy"):
        listed = [host for host in os.environ.get(name, "").split(",") if host]
        if LOOPBACK not in listed:
            os.environ[name] = ",".join([*listed, LOOPBACK])


@contextmanager
def connect(server: Server | None) -> Iterator[None]:
    """A context in which Prefect's client talks to the server, if there is one.

    Waits until it answers. Raises UserError if it ended instead, or if the one that the settings
    name does not answer.
    """
    if server is None:
        check_answers()
        yield
        return
    url = read_url(server)
    server.port = urlsplit(url).port or 0
    threading.Thread(target=server.keep, name="keep-prefect", daemon=True).start()
    try:
        with temporary_settings({PREFECT_API_URL: url}):
            yield
    finally:
        server.let_end()


def check_answers() -> None:
    """Raise UserError if the settings name no server, or one that does not answer."""
    url = get_current_settings().api.url
    if not url:
        raise UserError(
            "PREFECT_API_URL is not set, and PREFECT_SERVER_EPHEMERAL_ENABLED forbids to start a "
            "server: set one of them"
        )
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    if error:
        raise UserError(
            f"no Prefect server answers at PREFECT_API_URL={url}: {extract_message(error)}"
        )


def read_url(server: Server) -> str:
    """Where the API answers, once it does. Raises UserError if the server ended instead."""
    for line in server.process.stdout or ():
        if ADDRESS.fullmatch(line.strip()):  # and not what a library has printed
            return line.strip()
    status, home = server.process.wait(), get_current_settings().home
    server.errors.seek(0)
    reason = find_reason(server.errors.read())
    raise UserError(
        f"Prefect's own server ended with status {status} while starting ({reason}); its database "
        f"is in {home}: set PREFECT_HOME to another folder, or PREFECT_API_URL to a server"
    )


def find_reason(said: str) -> str:
    """The exception at the end of what a process said, or its last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    raised = [line for line in lines if RAISED.match(line)]
    return next(iter([*raised[-1:], *lines[-1:]]), "it said nothing")


def serve(port: int) -> None:
    """Answer at a port of loopback (0: a free one), print the API's URL, and end with the input."""
    import uvicorn
    from prefect.server.api.server import create_app

    class Announced(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(f"http://127.0.0.1:{listening.getsockname()[1]}/api", flush=True)

    threading.Thread(target=end_with_input, daemon=True).start()
    app = create_app(ephemeral=True, final=True)
    with socket.create_server((LOOPBACK, port)) as listening:
        Announced(uvicorn.Config(app, log_level="error", lifespan="on")).run([listening])


def end_with_input() -> None:
    """Wait for the end of standard input and end this process."""
    while os.read(0, 1024):  # Python's own reader would hold a lock that its shutdown needs
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
