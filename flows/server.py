"""The Prefect server of a command that was given none, which lives exactly as long as the command.

Prefect starts one among the command's own processes and ends it at exit. Ctrl-C in a terminal
would then end it first, and the flow would wait in vain to say that it was interrupted; and after
a SIGKILL of the command it would stay for ever.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import get_current_settings


class OwnServer(SubprocessASGIServer):
    """Once made, it is what Prefect starts where no PREFECT_API_URL is set."""

    def _run_uvicorn_command(self) -> "subprocess.Popen[Any]":
        settings = get_current_settings().to_environment_variables(exclude_unset=True)
        return subprocess.Popen(
            [sys.executable, "-m", __name__, str(self.port)],
            env=os.environ | settings,
            stdin=subprocess.PIPE,  # ends with this process, however that ends
            start_new_session=True,
        )


@contextmanager
def started_meanwhile() -> Iterator[None]:
    """A context at whose end the server answers, unless PREFECT_API_URL names another.

    It starts while the context imports what is slow to import. Raises what its start raised.
    """
    if get_current_settings().api.url is not None:
        yield
        return
    with ThreadPoolExecutor(1) as starting:
        started = starting.submit(OwnServer().start)
        yield
        started.result()


def serve(port: int) -> None:
    """Answer on a loopback port until standard input ends."""
    import uvicorn
    from prefect.server.api.server import create_app

    threading.Thread(target=end_with_input, daemon=True).start()
    app = create_app(ephemeral=True, final=True)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", lifespan="on")


def end_with_input() -> None:
    """Wait for the end of standard input and end this process."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
