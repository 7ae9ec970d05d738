"""Tracking in Weights & Biases: offline without a key, and never able to stop or stall training.

The driver process alone tracks. Its calls return at once: every W&B call happens on one daemon
thread, and whatever fails there costs a warning and some curves, nothing else. This is the only
file that imports wandb.
"""

import copy
import io
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, cast

from vae.errors import UserError, closest

if TYPE_CHECKING:
    import wandb

MINIMISED = frozenset({"val/nelbo"})  # a run's summary keeps the lowest value of these, not the last
SYSTEM_METRICS = frozenset({"train"})  # job types that sample CPU, memory and GPU
QUEUE_LIMIT = 10_000  # updates waiting for W&B
BROKEN_CLOSE_SECONDS = 10.0
INIT_SECONDS = "20"  # for a server to answer; WANDB_INIT_TIMEOUT overrides it

Mode = Literal["online", "offline", "disabled"]
logger = logging.getLogger(__name__)


class Tracker:
    """The W&B runs of one pipeline run, grouped by its id; a context manager.

    Online if a key is configured (WANDB_API_KEY, netrc, W&B's settings), offline otherwise or where
    the server does not answer; WANDB_MODE, WANDB_PROJECT and WANDB_ENTITY have their usual meaning.
    `directory` receives `wandb/`; `close` waits `close_seconds` at most. Any thread may call.
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
        self.paths: list[Path] = []  # of offline runs, for `wandb leet PATH` and `wandb sync PATH`
        self.urls: list[str] = []  # of online runs
        self._group = group
        self._directory = directory.absolute()
        self._project = os.environ.get("WANDB_PROJECT") or project
        self._close_seconds = close_seconds
        self._mode = _requested_mode()  # None: online if a key is configured
        self._runs: list[TrackedRun] = []
        self._session = False  # whether wandb is set up and its service running
        self._closed = False
        self._failures: set[tuple[str, str]] = set()  # kinds already warned of
        self._lost = 0  # updates that W&B never received
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
        if self._mode != "disabled":
            self._thread.start()

    def run(self, job_type: str, name: str, config: Mapping[str, object]) -> "TrackedRun":
        """Open one W&B run ("search", "train" or "evaluate"); any number may be open at once."""
        run = TrackedRun(self, job_type, name)
        settled = copy.deepcopy(dict(config))
        self._runs.append(run)
        self._submit(lambda: self._open(run, settled), must=True)
        return run

    def close(self, exit_code: int = 0) -> None:
        """Finish what is open, wait until the deadline, and say what W&B did not receive."""
        for run in self._runs:
            run.finish(exit_code)
        if self._closed or self._mode == "disabled":
            return
        self._closed = True
        self._jobs.put(None)
        limit = self._close_seconds
        self._thread.join(min(limit, BROKEN_CLOSE_SECONDS) if self._failures else limit)
        if self._thread.is_alive():
            where = self._directory / "wandb"
            logger.warning("W&B is still busy and is left behind; what it has is in %s", where)
            # wandb waits for its service in an atexit hook, without limit; tearing down drops the
            # hook first, and may then hang here, where nobody waits for it.
            threading.Thread(target=self._guard, args=("teardown", _teardown), daemon=True).start()
        if self._lost:
            logger.warning("W&B did not receive %d updates", self._lost)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(exit_code=0 if error is None else 1)

    def _submit(self, job: Callable[[], None], *, must: bool = False) -> None:
        if self._mode == "disabled":
            return
        if self._closed or (not must and self._jobs.qsize() >= QUEUE_LIMIT):
            self._lose()
        else:
            self._jobs.put(job)

    def _lose(self) -> None:
        with self._lock:
            self._lost += 1

    # Everything below runs on the daemon thread.

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
        self._end_session()

    def _guard(self, what: str, call: Callable[[], None]) -> bool:
        """Make one W&B call; if it fails, warn once of its kind and return False."""
        try:
            call()
        except (Exception, SystemExit) as error:
            # Broad because training must outlive any fault of W&B, also those it does not document;
            # wandb's teardown reports a service that died by SystemExit.
            kind = type(error).__name__
            if (what, kind) not in self._failures:
                self._failures.add((what, kind))
                reason = (str(error).splitlines() or [""])[0]
                logger.warning("W&B %s failed, training continues: %s: %s", what, kind, reason)
            if isinstance(error, ConnectionError):  # to the service: every open run died with it
                self._drop_runs()
                self._end_session()
            return False
        return True

    def _drop_runs(self) -> None:
        for run in self._runs:
            run._wandb = None

    def _open(self, run: "TrackedRun", config: dict[str, object]) -> None:
        def start() -> None:
            run._wandb = self._init(run, config)

        if not self._guard("init", start):
            self._mode = "offline"
            if all(other._wandb is None for other in self._runs):
                self._end_session()  # its service may be dead; nobody else needs it
            if not self._guard("offline init", start):
                logger.warning("W&B does not track %s %s", run.job_type, run.name)

    def _init(self, run: "TrackedRun", config: dict[str, object]) -> "wandb.Run":
        import wandb

        self._directory.mkdir(parents=True, exist_ok=True)
        if not self._session:
            self._begin_session()
        opened = wandb.init(
            project=self._project,
            group=self._group,
            job_type=run.job_type,
            name=run.name,
            config=config,
            dir=str(self._directory),
            mode=self._mode,
            reinit="create_new",
            settings=self._settings(run),
        )
        path = Path(opened.settings.sync_dir)
        if not path.is_relative_to(self._directory):  # wandb's own answer to a read-only directory
            logger.warning("W&B cannot write in %s and writes in %s", self._directory, path.parent)
        if opened.offline:
            self.paths.append(path)
        elif opened.url:
            self.urls.append(opened.url)
        return opened

    def _settings(self, run: "TrackedRun") -> "wandb.Settings":
        import wandb

        return wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            save_code=False,
            disable_job_creation=True,
            symlink=False,
            init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT") or INIT_SECONDS),
            finish_timeout=self._close_seconds / 2,
            finish_timeout_raises=True,
            stop_fn=_refuse_to_stop,
            x_disable_stats=run.job_type not in SYSTEM_METRICS,
            x_save_requirements=False,
        )

    def _begin_session(self) -> None:
        import wandb

        hooks = sys.exit, sys.excepthook
        wandb.setup(wandb.Settings(silent=True))
        sys.exit, sys.excepthook = hooks  # wandb replaces both for the whole process
        self._session = True
        # Without prompt=False wandb would ask for a key at the terminal.
        if self._mode != "offline" and not wandb.login(prompt=False, verify=False):
            if self._mode == "online":
                logger.warning("W&B is offline: WANDB_MODE is online, but no key is configured")
            self._mode = "offline"
        self._mode = self._mode or "online"
        wandb.setup(wandb.Settings(mode=self._mode))  # offline, this also ends wandb's telemetry

    def _end_session(self) -> None:
        if self._session:
            self._session = False
            self._guard("teardown", _teardown)


class TrackedRun:
    """One W&B run; opened by `Tracker.run`. Its methods return at once and never raise for W&B."""

    def __init__(self, tracker: Tracker, job_type: str, name: str) -> None:
        self.job_type = job_type
        self.name = name
        self._tracker = tracker
        self._finished = False
        self._defined: set[str] = set()
        self._wandb: wandb.Run | None = None  # written and read by the tracker's thread alone

    def log(self, metrics: Mapping[str, float], *, step_metric: str = "epoch") -> None:
        """Add one point to each curve, drawn over `step_metric`, which `metrics` holds too."""
        if step_metric not in metrics:
            raise ValueError(f"metrics must hold {step_metric!r}, got {sorted(metrics)}")
        values = {key: float(value) for key, value in metrics.items()}

        def log(run: "wandb.Run") -> None:
            for key in values.keys() - self._defined - {step_metric}:
                summary = "min" if key in MINIMISED else None
                run.define_metric(key, step_metric=step_metric, summary=summary)
                self._defined.add(key)
            run.log(values)

        self._submit("log", log)

    def images(self, key: str, pictures: Mapping[str, bytes]) -> None:
        """Show PNG pictures, caption to bytes, side by side under `key`."""
        pngs = dict(pictures)

        def log(run: "wandb.Run") -> None:
            import wandb
            from PIL import Image

            run.log(
                {key: [wandb.Image(Image.open(io.BytesIO(b)), caption=c) for c, b in pngs.items()]}
            )

        self._submit("images", log)

    def table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Show a table under `key`; the cells of a column share one type."""
        names, cells = list(columns), [list(row) for row in rows]

        def log(run: "wandb.Run") -> None:
            import wandb

            run.log({key: wandb.Table(columns=names, data=cells)})

        self._submit("table", log)

    def summary(self, values: Mapping[str, object]) -> None:
        """Set the run's final values, the columns by which runs are compared."""
        settled = dict(values)
        self._submit("summary", lambda run: run.summary.update(settled))

    def reference_artifact(
        self,
        name: str,
        kind: str,
        uri: str,
        *,
        files: Mapping[str, str],
        aliases: Sequence[str] = (),
        metadata: Mapping[str, object] = {},
    ) -> None:
        """Name the files below `uri` (file name to sha256) as an artifact; none is read or sent."""
        digests, labels, facts = dict(files), list(aliases), dict(metadata)

        def log(run: "wandb.Run") -> None:
            run.log_artifact(_reference(name, kind, uri, digests, facts), aliases=labels)

        self._submit("artifact", log)

    def finish(self, exit_code: int = 0) -> None:
        """End the run; a non-zero code marks it failed. Once: later calls do nothing."""
        if not self._finished:
            self._finished = True
            self._submit("finish", lambda run: self._finish(run, exit_code), must=True)

    def _finish(self, run: "wandb.Run", exit_code: int) -> None:
        self._wandb = None
        run.finish(exit_code=exit_code)

    def _submit(self, what: str, call: Callable[["wandb.Run"], None], *, must: bool = False) -> None:
        def job() -> None:
            run = self._wandb
            if run is None or not self._tracker._guard(what, lambda: call(run)):
                self._tracker._lose()

        self._tracker._submit(job, must=must)


def _reference(
    name: str, kind: str, uri: str, files: Mapping[str, str], metadata: dict[str, object]
) -> "wandb.Artifact":
    """Build what `add_reference(checksum=False)` builds: that insists on boto3 and local files."""
    import wandb
    from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry

    artifact = wandb.Artifact(name, kind, metadata={**metadata, "uri": uri, "sha256": dict(files)})
    for file, sha256 in files.items():
        reference = f"{uri.rstrip('/')}/{file}"
        entry = ArtifactManifestEntry(
            path=file, ref=reference, digest=reference, extra={"sha256": sha256}
        )
        artifact.manifest.add_entry(entry)
    return artifact


def _requested_mode() -> Mode | None:
    given = os.environ.get("WANDB_MODE", "")
    allowed = ("online", "offline", "disabled")
    if given and given not in allowed:
        hint = closest(given, allowed)
        raise UserError(f"WANDB_MODE is {given!r}; allowed are {', '.join(allowed)}{hint}")
    return cast(Mode, given) if given else None


def _refuse_to_stop() -> None:
    logger.warning("W&B asks to stop a run; stop the pipeline itself instead")


def _teardown() -> None:
    import wandb

    wandb.teardown()
