"""How a command ends before its run does: with the command that continues it, whatever happens."""

import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from vae.errors import EndedRunError, FailedRunError, RefusedError, UserError

AUTO = "auto"  # workers, as the command line has them where none are given
ORDERLY = "ended in order"
WATCH = f"""
import sys
if sys.stdin.read() != {ORDERLY!r}:
    print("vae: killed, or ended by Ray; continue with:", sys.argv[1], file=sys.stderr)
"""


def format_command(until: str, run_id: str, store: str, workers: str = AUTO) -> str:
    """The command that continues a run up to a stage, in the store of that URI.

    With as many workers as before: another number rounds otherwise.
    """
    name = "run" if until == "publish" else until
    given = "" if workers == AUTO else f" --workers {workers}"
    return f"vae {name} --run-id {run_id} --store {shlex.quote(store)}{given}"


@contextmanager
def tell_again(command: str | None) -> Iterator[None]:
    """A context in which what the store refuses is told with the command that continues the run.

    None where no run was named: then none has begun.
    """
    try:
        yield
    except RefusedError as error:
        if command is None:
            raise
        raise RefusedError(f"{error}; continue with: {command}") from error


@contextmanager
def tell_if_killed(command: str) -> Iterator[None]:
    """A context with a process that tells `command` if this one ends in the midst of it.

    By kill -9, for want of memory, or by Ray, which ends a driver whose session is gone.
    """
    watcher = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", WATCH, command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # what is meant for the command's group is not for it
        text=True,
    )
    try:
        yield
    finally:
        with suppress(OSError):  # it was killed
            watcher.communicate(ORDERLY)


@contextmanager
def stop_in_order(command: str) -> Iterator[None]:
    """A context that Ctrl-C and SIGTERM end in order, then the process, with status 130 or 143.

    `command` is what goes on from there, told however the context fails. Everything unwinds first,
    so that no process stays behind. While a flow runs, Prefect takes SIGTERM, and passes it on to
    the handler set here.
    """
    received: list[int] = []

    def stop(number: int, _: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except BaseException as error:  # Prefect makes other exceptions of the one from `stop`
        if not received and isinstance(error, EndedRunError):
            raise
        if not received and isinstance(error, UserError | FailedRunError):
            kind = UserError if isinstance(error, UserError) else FailedRunError
            raise kind(f"{error}; continue with: {command}") from error
        if not received:
            print(f"vae: continue with: {command}", file=sys.stderr)
            raise
        name = signal.Signals(received[0]).name
        print(f"vae: stopped by {name}, continue with: {command}", file=sys.stderr)
        sys.exit(128 + received[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
