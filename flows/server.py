"""The Prefect server of a command that was given none: it lives exactly as long as the command.

Prefect can start such a server itself, but not so that a command ends well:

- Ctrl-C in a terminal reaches Prefect's server too. It would end before the flow has told it that
  the run was interrupted. This one has a session of its own, out of the terminal's reach.
- After a SIGKILL of the command Prefect's server would run for ever. This one ends with its
  standard input, which the command holds.
- Prefect starts its server at the first call, and the command waits. This one starts while the
  command imports the rest.
"""

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from vae.errors import UserError, extract_message

Server = subprocess.Popen[str]


def launch_server() -> Server | None:
    """A server that is starting, or none where the settings name one or forbid it.

    It ends with this process, however that ends.
    """
    settings = get_current_settings()
    if settings.api.url or not settings.server.ephemeral.enabled:
        return None
    server = subprocess.Popen(
        [sys.executable, "-m", __name__],
        env=os.environ | settings.to_environment_variables(exclude_unset=True),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    atexit.register(server.communicate)  # runs after Prefect has sent the last of its logs
    return server


@contextmanager
def connect(server: Server | None) -> Iterator[None]:
    """A context in which Prefect's client talks to the server, if there is one.

    Waits until it answers. Raises RuntimeError if it ended instead, UserError if the one that the
    settings name does not answer.
    """
    if server is None:
        check_answers()
        yield
        return
    with temporary_settings({PREFECT_API_URL: read_url(server)}):
        yield


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
    """Where the API answers, once it does. Raises RuntimeError if the server ended instead."""
    line = server.stdout.readline() if server.stdout else ""
    if not line:
        raise RuntimeError(f"Prefect's server ended with status {server.wait()} while starting")
    return line.strip()


def serve() -> None:
    """Answer on a free loopback port, print the API's URL, and end when standard input ends."""
    import uvicorn
    from prefect.server.api.server import create_app

    class Announced(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(f"http://127.0.0.1:{listening.getsockname()[1]}/api", flush=True)

    threading.Thread(target=end_with_input, daemon=True).start()
    app = create_app(ephemeral=True, final=True)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        Announced(uvicorn.Config(app, log_level="error", lifespan="on")).run([listening])


def end_with_input() -> None:
    """Wait for the end of standard input and end this process."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    serve()
