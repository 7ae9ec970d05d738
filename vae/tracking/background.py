"""Calls to a library that may fail or hang, made where nobody waits for them."""

import logging
import queue
import threading
from collections.abc import Callable

Call = Callable[[], object]  # what it returns is ignored


class Background:
    """A bounded queue of calls to one library, made in order on one daemon thread.

    `submit` returns at once and never raises. What could not be done is counted, warned of once per
    kind on `logger`, and totalled by `tell_lost`.
    """

    def __init__(self, library: str, logger: logging.Logger, *, limit: int = 10_000) -> None:
        self._library = library
        self._logger = logger
        self._limit = limit
        self._closed = False
        self._failures: set[tuple[str, str]] = set()  # kinds already warned of
        self._lost = 0
        self._lock = threading.Lock()  # of the two above
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=library, daemon=True)
        self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether any call has failed so far."""
        return bool(self._failures)

    def submit(self, call: Call, *, must: bool = False) -> None:
        """Queue `call`; it is dropped and counted if the queue is full, unless it `must` run."""
        if self._closed or (not must and self._calls.qsize() >= self._limit):
            self.count_lost()
        else:
            self._calls.put(call)

    def count_lost(self) -> None:
        """Count one update that the library did not receive."""
        with self._lock:
            self._lost += 1

    def attempt(self, what: str, call: Call) -> BaseException | None:
        """Call now, on this thread; return what it raised, after a warning if its kind is new."""
        try:
            call()
        # Broad, here alone: training must outlive every fault of the library, also those that it
        # does not document; wandb's teardown reports a service that died by SystemExit.
        except (Exception, SystemExit) as error:
            self._warn_once(what, error)
            return error
        return None

    def _warn_once(self, what: str, error: BaseException) -> None:
        kind = type(error).__name__
        with self._lock:
            if (what, kind) in self._failures:
                return
            self._failures.add((what, kind))
        reason = (str(error).splitlines() or ["no reason given"])[0]
        self._logger.warning(
            "%s: %s failed, training goes on: %s: %s", self._library, what, kind, reason
        )

    def close(self, seconds: float) -> bool:
        """Take no more calls, and wait `seconds` at most; return whether all are made by then.

        It may be called again, to wait on.
        """
        if not self._closed:
            self._closed = True
            self._calls.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def tell_lost(self) -> None:
        """After `close`: warn of how many updates the library did not receive, if any."""
        waiting = self._calls.qsize() - 1 if self._thread.is_alive() else 0  # one is the end
        if lost := self._lost + max(0, waiting):
            self._logger.warning("%s did not receive %d updates", self._library, lost)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
