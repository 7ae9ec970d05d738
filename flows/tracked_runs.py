"""What was tracked without W&B's server is kept in the store, and sent from any machine later."""

import gzip
import io
import logging
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vae.errors import UserError, extract_message
from vae.runs.run import Run, list_runs
from vae.scratch import open_temporary
from vae.store.promises import Store
from vae.tracking.sync import MARKS, check_account, is_sent, list_files, mark_kept, push
from vae.tracking.tracker import Tracker

log = logging.getLogger("vae.pipeline")
KEPT, SENT = ".tar.gz", ".sent"
BROKEN = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, IndexError)


@contextmanager
def open_tracker(run: Run, directory: Path) -> Iterator[Tracker]:
    """The W&B runs of a session; those that W&B did not get are in the store at the end.

    So are those that a killed session of the run has left in this directory.
    """
    keep(run, find_left(run, directory))
    tracker = Tracker(run.run_id, directory)
    try:
        with tracker:
            yield tracker
    finally:
        keep(run, tracker.unsent)


def find_left(run: Run, directory: Path) -> list[Path]:
    """The folders of this run's offline W&B runs on this machine, that W&B does not have."""
    found = sorted((directory / "wandb").glob(f"offline-run-*-{run.version}-*"))
    return [path for path in found if list_files(path) and not is_sent(path)]


def keep(run: Run, folders: Sequence[Path]) -> None:
    """Put W&B runs into the store, each as one object; one that can't be is a warning.

    What is there of them is replaced: another session may have put it while they were written.
    """
    for folder in folders:
        key = f"{run.prefix}/wandb/{folder.name}{KEPT}"
        try:
            with run.store.explain_errors():
                run.store.put(key, pack(folder))
            mark_kept(folder)
        except (UserError, OSError, tarfile.TarError) as error:
            log.warning("W&B's %s is not kept in the store: %s", folder, extract_message(error))


def pack(folder: Path) -> bytes:
    """A W&B run as an archive, without its logs."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if path.is_file() and inside.parts[0] != "logs" and path.suffix not in MARKS:
                archive.add(path, f"{folder.name}/{inside}")
    return buffer.getvalue()


def list_unsent(store: Store, run_id: str) -> list[str]:
    """The keys of a run's W&B runs that W&B does not have yet, in the order of their beginning."""
    keys = store.list(f"runs/{run_id}/wandb")
    sent = {key.removesuffix(SENT) for key in keys if key.endswith(SENT)}
    kept = [key for key in keys if key.endswith(KEPT)]
    return sorted(key for key in kept if key.removesuffix(KEPT) not in sent)


def sync(store: Store, run_id: str | None) -> Iterator[str]:
    """Send what the store keeps of one run or of all of them; a line for each.

    Raises UserError for an unknown run, without a key or a server, and for runs that did not
    arrive. What has arrived is not sent again.
    """
    waiting = {
        name: list_unsent(store, name) for name in ([run_id] if run_id else list_runs(store))
    }
    waiting = {name: keys for name, keys in waiting.items() if keys}
    if not waiting:
        yield "W&B has everything that was tracked"
        return
    url, missing = check_account(), 0
    for name, keys in waiting.items():
        arrived = send(store, keys)
        missing += len(keys) - arrived
        yield f"{name}: {arrived} of {len(keys)} W&B runs sent to {url}"
    if missing:
        raise UserError(f"{missing} W&B runs did not reach {url}: run the same command again")


def send(store: Store, keys: list[str]) -> int:
    """Send the W&B runs of one run, and mark those that arrived; how many did."""
    with open_temporary("sync") as scratch:
        folders = {}
        for key in keys:
            try:
                folders[key] = unpack(store.read(key), Path(scratch))
            except BROKEN as error:
                told = "%s/%s holds no W&B run (%s): delete it"
                log.warning(told, store.uri, key, extract_message(error))
        arrived = push(list(folders.values())) if folders else []
    for key, folder in folders.items():
        if folder in arrived:
            store.put(key.removesuffix(KEPT) + SENT, b"")
    return len(arrived)


def unpack(archive: bytes, directory: Path) -> Path:
    """The folder of a W&B run from its archive. Raises one of BROKEN."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        opened.extractall(directory, filter="data")
        return directory / opened.getnames()[0].split("/")[0]
