"""What wandb holds for the whole process: its service, its mode and the open runs."""

import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from vae.tracking.background import Background
from vae.tracking.values import Label

if TYPE_CHECKING:
    import wandb

SYSTEM_METRICS = frozenset({"train"})  # job types that sample CPU, memory and GPU
FULL_DISK_BYTES = 2**20
INIT_SECONDS = 20.0  # for a server to answer; WANDB_INIT_TIMEOUT overrides it
ERROR_REPORTING = "WANDB_ERROR_REPORTING"  # what wandb tells of itself, for which its end waits

Mode = Literal["online", "offline", "disabled"]
logger = logging.getLogger("vae.tracking")


class Ending(NamedTuple):
    """A run that is being finished, and where."""

    run: "wandb.Run"
    thread: threading.Thread


class Session:
    """wandb's state in this process. Its methods run on `background`'s thread alone."""

    def __init__(
        self,
        *,
        group: str,
        directory: Path,
        project: str,
        mode: Mode | None,
        finish_seconds: float,
    ) -> None:
        self.background = Background("W&B", logger)
        self.directory = directory
        self.opened: dict[object, wandb.Run] = {}
        self.paths: list[Path] = []  # of offline runs
        self.unsent: list[Path] = []  # those, and of online runs that W&B has not all of
        self.urls: list[str] = []
        self._group = group
        self._project = project
        self._mode = mode  # None until it is known whether a key is configured
        self._finish_seconds = finish_seconds
        self._endings: list[Ending] = []
        self._begun = False

    def open(self, key: object, label: Label, config: dict[str, object]) -> None:
        """Open a run, offline if it cannot be online; leave it unopened if neither works."""

        def attempt(what: str) -> bool:
            call = self.background.attempt
            return call(what, lambda: self._open(key, label, config)) is None

        self._join([one for one in self._endings if one.run.id == label.run_id])  # it goes on
        if attempt("init"):
            return
        self.go_offline()
        if not self.opened:
            self.end()  # nobody needs the service, which may be what failed
        if not attempt("init again"):
            logger.warning("W&B does not track %s", label.name)

    def perform(self, key: object, what: str, call: Callable[["wandb.Run"], object]) -> None:
        """Make one call to the run opened as `key`; count it as lost if there is none."""
        run = self.opened.get(key)
        if run is None:
            self.background.count_lost()
        elif error := self.background.attempt(what, lambda: call(run)):
            self.background.count_lost()
            if isinstance(error, ConnectionError):  # the service, which all runs share, is dead
                self.note_all_unsent()
                self.opened.clear()
                self.end()  # so that the next run starts another one

    def finish(self, key: object, exit_code: int) -> None:
        """Begin to end a run: the server may take its time, and no other run waits for it."""
        run = self.opened.pop(key, None)
        if run is None:
            self.background.count_lost()
            return
        thread = threading.Thread(target=self._finish, args=(run, exit_code), daemon=True)
        thread.start()
        alive = [one for one in self._endings if one.thread.is_alive()]
        self._endings = [*alive, Ending(run, thread)]

    def _finish(self, run: "wandb.Run", exit_code: int) -> None:
        if self.background.attempt("finish", lambda: run.finish(exit_code=exit_code)):
            self.background.count_lost()
            self.note_unsent(run)

    def _join(self, endings: list[Ending]) -> None:
        """Wait until these runs have ended, which `finish_seconds` bounds."""
        for ending in endings:
            ending.thread.join()

    def go_offline(self) -> None:
        """Open whatever is opened from now on offline; called from any thread."""
        if self._mode != "disabled":
            self._mode = "offline"

    def end(self) -> None:
        """Stop wandb's service and remove what wandb registered in this process."""
        self._join(self._endings)
        if self._begun:
            self._begun = False
            self.background.attempt("teardown", _teardown)
            self.background.attempt("disk check", self._check_disk)

    def leave_behind(self) -> None:
        """Keep a stuck wandb from delaying the interpreter's exit; called from any thread.

        wandb waits for its service in an atexit hook, without limit. Its teardown first drops that
        hook and may then hang too, on a thread that nobody waits for.
        """
        attempt = self.background.attempt
        threading.Thread(target=attempt, args=("teardown", _teardown), daemon=True).start()

    def _open(self, key: object, label: Label, config: dict[str, object]) -> None:
        import wandb

        if not self._begun:
            self._begin()
        self.directory.mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            project=self._project,
            group=self._group,
            id=label.run_id,  # given, or WANDB_RUN_ID would make one run of all
            resume="allow",
            job_type=label.job_type,
            name=label.name,
            tags=label.tags,
            notes=label.notes,
            config=config,
            dir=str(self.directory),
            mode=self._mode,
            reinit="create_new",
            settings=self._make_settings(label.job_type),
        )
        self.opened[key] = run
        if self._mode != "disabled":
            self._note_place(run)

    def _note_place(self, run: "wandb.Run") -> None:
        path = Path(run.settings.sync_dir)
        if not path.is_relative_to(self.directory):  # wandb's answer to a read-only directory
            logger.warning("W&B cannot write in %s, so it writes in %s", self.directory, path)
        if run.offline:
            self.paths.append(path)
            self.unsent.append(path)
        elif run.url:
            self.urls.append(run.url)

    def note_unsent(self, run: "wandb.Run") -> None:
        """Remember a run that W&B has not received to its end."""
        path = Path(run.settings.sync_dir)
        if path not in self.unsent:
            self.unsent.append(path)
            logger.warning("W&B lacks a part of %s, which is in %s", run.name, path)

    def note_all_unsent(self) -> None:
        """The same of every run that is open or not yet ended; called from any thread."""
        ending = [one.run for one in self._endings if one.thread.is_alive()]
        for run in [*self.opened.values(), *ending]:
            self.note_unsent(run)

    def _check_disk(self) -> None:
        # wandb's service meets a full disk without a word.
        if self.paths and shutil.disk_usage(self.directory).free < FULL_DISK_BYTES:
            logger.warning("The disk is full: W&B's runs in %s are incomplete", self.directory)

    def _make_settings(self, job_type: str) -> "wandb.Settings":
        import wandb

        return wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            save_code=False,
            disable_job_creation=True,
            symlink=False,
            init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT") or INIT_SECONDS),
            finish_timeout=self._finish_seconds,
            finish_timeout_raises=True,
            stop_fn=_refuse_to_stop,
            x_disable_stats=job_type not in SYSTEM_METRICS,
            x_save_requirements=False,
        )

    def _begin(self) -> None:
        import wandb

        hooks = sys.exit, sys.excepthook
        with quiet_service():
            wandb.setup(wandb.Settings(silent=True))
        sys.exit, sys.excepthook = hooks  # wandb replaces both for the whole process
        self._begun = True
        if self._mode in (None, "online"):
            # Without prompt=False wandb would ask for a key at the terminal.
            key = wandb.login(prompt=False, verify=False)
            if self._mode == "online" and not key:
                logger.warning("W&B is offline: WANDB_MODE is online, but no key is configured")
            self._mode = "online" if key else "offline"
        wandb.setup(wandb.Settings(mode=self._mode))  # offline, this also stops its telemetry


@contextmanager
def quiet_service() -> Iterator[None]:
    """A context in which wandb starts a service that reports nothing of itself, unless asked to."""
    if ERROR_REPORTING in os.environ:
        yield
        return
    os.environ[ERROR_REPORTING] = "false"
    try:
        yield
    finally:
        del os.environ[ERROR_REPORTING]


def _refuse_to_stop() -> None:
    logger.warning("W&B asks to stop a run; stop the pipeline itself instead")


def _teardown() -> None:
    import wandb

    wandb.teardown()
