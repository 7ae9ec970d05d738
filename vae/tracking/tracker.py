"""Tracking in Weights & Biases: offline without a key, and never able to stop or stall training.

The driver process alone tracks, and its calls return at once: every W&B call happens on one daemon
thread, and what fails there costs a warning and some curves. Only this room imports wandb, and
only on that thread.
"""

import copy
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from vae.errors import UserError, suggest
from vae.tracking.run import TrackedRun
from vae.tracking.session import Mode, Session
from vae.tracking.values import Label

PROJECT = "vae-pipeline"  # WANDB_PROJECT overrides it
BROKEN_CLOSE_SECONDS = 10.0
logger = logging.getLogger("vae.tracking")


class Tracker:
    """The W&B runs of one pipeline run, grouped by its id; a context manager.

    Online if a key is configured (WANDB_API_KEY, netrc, W&B's own settings), offline if none is or
    the server does not answer; WANDB_MODE, WANDB_PROJECT and WANDB_ENTITY have their usual meaning.
    `directory` receives `wandb/`. Any thread may call; one tracker at a time per process.
    Raises UserError for an unknown WANDB_MODE.
    """

    def __init__(
        self,
        group: str,
        directory: Path,
        *,
        project: str = PROJECT,
        close_seconds: float = 60.0,
    ) -> None:
        self._runs: list[TrackedRun] = []
        self._close_seconds = close_seconds
        self._closed = False
        self._session = Session(
            group=group,
            directory=directory.absolute(),
            project=find_project(project),
            mode=read_mode(),
            finish_seconds=close_seconds / 2,
        )

    @property
    def paths(self) -> list[Path]:
        """Where the offline runs are, for `wandb leet PATH` and `wandb sync PATH`; after close."""
        return list(self._session.paths)

    @property
    def urls(self) -> list[str]:
        """Where the online runs are; after close."""
        return list(self._session.urls)

    @property
    def unsent(self) -> list[Path]:
        """The folders of all runs that W&B does not have to their end, for `push`; after close."""
        return list(self._session.unsent)

    def start_run(self, label: Label, config: Mapping[str, object]) -> TrackedRun:
        """Open one W&B run, or continue the one of that id; any number may be open at once."""
        run = TrackedRun(self._session, label)
        settled = copy.deepcopy(dict(config))
        self._runs.append(run)
        session = self._session
        session.background.submit(lambda: session.open(run, label, settled), must=True)
        return run

    def close(self, exit_code: int = 0) -> None:
        """Finish the open runs, wait `close_seconds` at most, and warn of what W&B did not get.

        Runs that W&B has not heard of after a sixth of it are written to files, as offline: what is
        queued for them would be lost otherwise.
        """
        for run in self._runs:
            run.finish(exit_code)
        if self._closed:
            return
        self._closed = True
        session, background = self._session, self._session.background
        background.submit(session.end, must=True)
        limit = self._close_seconds
        limit = min(limit, BROKEN_CLOSE_SECONDS) if background.failed else limit
        if not background.close(limit / 6):
            session.go_offline()
            if not background.close(limit * 5 / 6):
                logger.warning("W&B is stuck and left behind; see %s", session.directory)
                session.note_all_unsent()
                session.leave_behind()
        background.tell_lost()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(exit_code=0 if error is None else 1)


def find_project(project: str = PROJECT) -> str:
    """The W&B project that runs are tracked in: the given one, unless WANDB_PROJECT names one."""
    return os.environ.get("WANDB_PROJECT") or project


def read_mode() -> Mode | None:
    """What WANDB_MODE says, None if it says nothing. Raises UserError for anything unknown."""
    given = os.environ.get("WANDB_MODE", "")
    allowed = ("online", "offline", "disabled")
    if given and given not in allowed:
        hint = suggest(given, allowed)
        raise UserError(f"WANDB_MODE is {given!r}; allowed are {', '.join(allowed)}{hint}")
    return cast(Mode, given) if given else None
