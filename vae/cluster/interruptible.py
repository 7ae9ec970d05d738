"""Work that blocks in Ray, and can be left: for a signal, a refusal, or a session that is lost."""

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, TypeVar

from vae.errors import FailedRunError

WATCH_S = 1.0  # between looks at the processes of a local session
STOP_S = 5.0  # for work to return once it is stopped
NEEDED = {"raylet", "gcs_server"}  # Ray's names for those without which a session is over
T = TypeVar("T")


class SessionLostError(FailedRunError):
    """The local Ray session has ended under the work: it goes on from the store, in another one."""


def run_interruptibly(
    work: Callable[[], T],
    refusal: Future[None] | None = None,
    stop: Callable[[], object] = lambda: None,
) -> T:
    """What `work` returns, from a thread of its own, while this one waits where signals are heard.

    Whatever blocks in Ray is called through this: a signal handler that raises inside one of Ray's
    calls is not heard, and Ray Train and Tune replace the handlers that they find. If a handler
    raises here, or `refusal` fails, `stop` is called to have `work` return, which is waited for:
    a call of Ray's that is at work when its session ends would end this process, at once. Raises
    SessionLostError if the session is lost first, with which Ray would end this process as well.
    """
    future: Future[T] = Future()
    context = contextvars.copy_context()  # of the flow run: what `work` logs belongs to it

    def answer() -> None:
        try:
            future.set_result(context.run(work))
        except BaseException as error:  # all of them are the caller's, who gets them below
            future.set_exception(error)

    threading.Thread(target=answer, name="interruptible", daemon=True).start()
    awaited: set[Future[Any]] = {future} if refusal is None else {future, refusal}
    try:
        while not wait(awaited, WATCH_S, FIRST_COMPLETED).done:
            check_session()
        if refusal is not None and refusal.done():
            refusal.result()  # the cause, of which `work` may only know the traceback
    except SessionLostError:
        raise
    except BaseException:
        stop()
        wait([future], STOP_S)
        raise
    return future.result()


def check_session() -> None:
    """Raise SessionLostError if a local session lacks a process that it can't do without."""
    import ray

    node = ray._private.worker._global_node
    ended = {name for name, _ in node.dead_processes()} if node else set()
    if lost := " and ".join(sorted(ended & NEEDED)):
        raise SessionLostError(f"the local Ray session is over: its {lost} process has ended")
