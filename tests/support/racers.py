"""Processes that race: each costs some tens of ms, for they fork from a server that has imported.

A child imports the module of its work; what lies here is imported once, before all of them.
"""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support.versions import publish_version, write_version
from vae.registry.promote import promote
from vae.store import local, s3  # noqa: F401 (imported before the processes are)
from vae.store.promises import Conflict, Store

LIMIT_S = 300.0
Work = Callable[..., Any]


def race_processes(work: Work, given: Sequence[tuple[object, ...]]) -> list[Any]:
    """What `work` returns, or the text of what it raises, for each tuple of arguments given.

    `work` is a function of this module; each call has a process, and all begin together.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    barrier, answers = context.Barrier(len(given)), context.SimpleQueue()
    environment = dict(os.environ)  # the server's own is from when it was started
    processes = [
        context.Process(target=run, args=(number, work, one, environment, barrier, answers))
        for number, one in enumerate(given)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LIMIT_S)  # what they answer is small, and waits in the pipe
    found = dict[int, Any]()
    while not answers.empty():
        found |= dict([answers.get()])
    return [found[number] for number in range(len(given))]


def run(
    number: int,
    work: Work,
    arguments: tuple[object, ...],
    environment: dict[str, str],
    barrier: Any,
    answers: Any,
) -> None:
    """Do the work once all have come, and answer."""
    os.environ.update(environment)
    barrier.wait(LIMIT_S)
    try:
        answers.put((number, work(*arguments)))
    except Exception as error:
        answers.put((number, repr(error)))


def try_create(store: Store, key: str, data: bytes) -> bool:
    """Create an object; whether it was not there yet."""
    try:
        store.create(key, data)
    except FileExistsError:
        return False
    return True


def increment(store: Store, key: str) -> None:
    """Add one to a number in the store."""
    while True:
        try:
            data, token = store.read_token(key)
        except FileNotFoundError:
            data, token = b"0", None
        try:
            return store.replace(key, str(int(data) + 1).encode(), token)
        except Conflict:
            continue


def upload(store: Store, method: str, key: str, path: Path) -> bool:
    """Put or create an object from a file; whether it was written."""
    try:
        getattr(store, method)(key, path)
    except FileExistsError:
        return False
    return True


def publish_and_promote(store: Store, version: str, folder: Path, value: float) -> bool:
    """Publish a version that is built in a folder, and promote it; whether it was the best then."""
    publish_version(store, version, write_version(folder / version, value))
    return promote(store, "m", version, value).best
