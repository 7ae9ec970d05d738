"""Tracking in Weights & Biases: offline without a key, and never able to stop or stall training.

The driver process alone tracks, and its calls return at once: every W&B call happens on one daemon
thread, and what fails there costs a warning and some curves. This is the only file that imports
wandb, and it does so on that thread.
"""

import copy
import io
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, cast

from vae.background import Background
from vae.errors import UserError, closest

if TYPE_CHECKING:
    import wandb

MINIMISED = frozenset({"val/nelbo"})  # a run's summary keeps the lowest of these, not the last
SYSTEM_METRICS = frozenset({"train"})  # job types that sample CPU, memory and GPU
BROKEN_CLOSE_SECONDS = 10.0
INIT_SECONDS = 20.0  # for a server to answer; WANDB_INIT_TIMEOUT overrides it

Mode = Literal["online", "offline", "disabled"]
logger = logging.getLogger(__name__)


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
        project: str = "vae-pipeline",
        close_seconds: float = 60.0,
    ) -> None:
        mode = _requested_mode()
        self._runs: list[TrackedRun] = []
        self._close_seconds = close_seconds
        self._closed = False
        self._background = None if mode == "disabled" else Background("W&B", logger)
        self._session = _Session(
            group=group,
            directory=directory.absolute(),
            project=os.environ.get("WANDB_PROJECT") or project,
            mode=mode,
            finish_seconds=close_seconds / 2,
        )

    @property
    def paths(self) -> list[Path]:
        """Where the offline runs are, for `wandb leet PATH` and `wandb sync PATH`; after `close`."""
        return list(self._session.paths)

    @property
    def urls(self) -> list[str]:
        """Where the online runs are; after `close`."""
        return list(self._session.urls)

    def run(self, job_type: str, name: str, config: Mapping[str, object]) -> "TrackedRun":
        """Open one W&B run ("search", "train" or "evaluate"); any number may be open at once."""
        run = TrackedRun(job_type, name, self._session, self._background)
        settled = copy.deepcopy(dict(config))
        self._runs.append(run)
        if background := self._background:
            background.submit(lambda: self._session.open(run, settled, background), must=True)
        return run

    def close(self, exit_code: int = 0) -> None:
        """Finish the open runs, wait `close_seconds` at most, and warn of what W&B did not get."""
        for run in self._runs:
            run.finish(exit_code)
        background = self._background
        if self._closed or background is None:
            return
        self._closed = True
        background.submit(lambda: self._session.end(background), must=True)
        limit = self._close_seconds
        if not background.close(min(limit, BROKEN_CLOSE_SECONDS) if background.failed else limit):
            logger.warning("W&B is stuck and left behind; see %s", self._session.directory)
            # wandb would wait for its service in an atexit hook, without limit. Its teardown drops
            # that hook first, and may then hang too: nobody waits for this thread.
            threading.Thread(
                target=background.attempt, args=("teardown", _teardown), daemon=True
            ).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(exit_code=0 if error is None else 1)


class TrackedRun:
    """One W&B run, opened by `Tracker.run`. Methods return at once; no fault of W&B is raised."""

    def __init__(
        self, job_type: str, name: str, session: "_Session", background: Background | None
    ) -> None:
        self.job_type = job_type
        self.name = name
        self.opened: wandb.Run | None = None  # used on the background thread alone, as is _defined
        self._defined: set[str] = set()
        self._session = session
        self._background = background
        self._finished = False

    def log(self, metrics: Mapping[str, float], *, step_metric: str = "epoch") -> None:
        """Add a point to each curve of `metrics`, drawn over its `step_metric`."""
        if step_metric not in metrics:
            raise ValueError(f"metrics must hold {step_metric!r}, got {sorted(metrics)}")
        values = {key: float(value) for key, value in metrics.items()}

        def call(run: "wandb.Run") -> None:
            for key in values.keys() - self._defined - {step_metric}:
                summary = "min" if key in MINIMISED else None
                run.define_metric(key, step_metric=step_metric, summary=summary)
                self._defined.add(key)
            run.log(values)

        self._submit("log", call)

    def images(self, key: str, pictures: Mapping[str, bytes]) -> None:
        """Show PNG pictures, caption to bytes, side by side under `key`."""
        pngs = dict(pictures)

        def call(run: "wandb.Run") -> None:
            import wandb
            from PIL import Image

            shown = [
                wandb.Image(Image.open(io.BytesIO(png)), caption=caption)
                for caption, png in pngs.items()
            ]
            run.log({key: shown})

        self._submit("images", call)

    def table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Show a table under `key`; the cells of a column share one type."""
        names: list[str | int] = list(columns)
        cells = [list(row) for row in rows]

        def call(run: "wandb.Run") -> None:
            import wandb

            run.log({key: wandb.Table(columns=names, data=cells)})

        self._submit("table", call)

    def summary(self, values: Mapping[str, object]) -> None:
        """Set final values, the columns by which W&B compares runs."""
        settled = dict(values)
        self._submit("summary", lambda run: run.summary.update(settled))

    def reference_artifact(
        self,
        name: str,
        kind: str,
        uri: str,
        *,
        files: Mapping[str, str],
        aliases: Sequence[str],
        metadata: Mapping[str, object],
    ) -> None:
        """Point to `files` (name to sha256) below `uri` as an artifact; nothing is read or sent."""
        digests, labels = dict(files), list(aliases)
        facts = {**metadata, "uri": uri, "sha256": digests}
        self._submit(
            "artifact",
            lambda run: run.log_artifact(_reference(name, kind, uri, digests, facts), aliases=labels),
        )

    def finish(self, exit_code: int = 0) -> None:
        """End the run, once; a non-zero code marks it failed."""
        if not self._finished:
            self._finished = True
            self._submit("finish", lambda run: self._finish(run, exit_code), must=True)

    def _finish(self, run: "wandb.Run", exit_code: int) -> None:
        self.opened = None
        run.finish(exit_code=exit_code)

    def _submit(
        self, what: str, call: Callable[["wandb.Run"], object], *, must: bool = False
    ) -> None:
        if background := self._background:
            background.submit(lambda: self._perform(what, call, background), must=must)

    def _perform(
        self, what: str, call: Callable[["wandb.Run"], object], background: Background
    ) -> None:
        if (run := self.opened) is None:  # it never opened, or its service died
            background.count_lost()
        elif error := background.attempt(what, lambda: void(call(run))):
            background.count_lost()
            if isinstance(error, ConnectionError):  # to wandb's service
                self._session.abandon(background)
