"""Where a run under faults keeps its store: a file system of its own, or S3 behind a proxy."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.faulty_proxy import FaultyProxy
from tests.support.s3_server import start_s3_server
from vae.store.open import open_store
from vae.store.promises import Store

DISK_BYTES = 200_000_000


class World:
    """A store as the run sees it, and what can be done to that."""

    kind: str
    uri: str

    def watch(self) -> Store:
        """The store for whoever judges, untouched by the faults."""
        return open_store(self.uri)


class Disk(World):
    """A folder; with root's rights a file system of its own, which can be full or read-only."""

    kind = "folder"

    def __init__(self, mount: Path) -> None:
        self.mount = mount
        self.uri = str(mount / "store")

    def fill(self) -> None:
        """Leave no room."""
        with (self.mount / "filler").open("wb") as file:
            try:
                while True:
                    file.write(bytes(1_000_000))
                    file.flush()
            except OSError:
                pass

    def make_room(self) -> None:
        """Delete what fills it."""
        (self.mount / "filler").unlink(missing_ok=True)

    def forbid_writing(self) -> None:
        """Mount it read-only, as Linux does after an error of the disk."""
        self._remount("ro")

    def allow_writing(self) -> None:
        """Mount it for writing again."""
        self._remount("rw")

    def _remount(self, mode: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{mode}", str(self.mount)], check=True)


class Bucket(World):
    """A prefix on a real S3 server, which the run reaches through a proxy that can spoil it."""

    kind = "s3"

    def __init__(self, proxy: FaultyProxy, uri: str, upstream: str) -> None:
        self.proxy, self.uri, self.upstream = proxy, uri, upstream

    def watch(self) -> Store:
        os.environ["AWS_ENDPOINT_URL"] = self.upstream
        try:
            store = open_store(self.uri)
            store.list("runs")  # the client reads the environment at its first request
            return store
        finally:
            os.environ["AWS_ENDPOINT_URL"] = self.proxy.endpoint


@contextmanager
def mount_disk(directory: Path) -> Iterator[Disk]:
    """A disk of DISK_BYTES below the directory, in memory; a plain folder without root's rights."""
    mount = directory / "disk"
    mount.mkdir()
    if os.getuid():
        yield Disk(mount)
        return
    options = f"size={DISK_BYTES}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(mount)], check=True)
    try:
        yield Disk(mount)
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=True)


@contextmanager
def serve_bucket() -> Iterator[Bucket]:
    """A bucket on an S3 server of its own; the environment leads to the proxy before it."""
    server = start_s3_server()
    with FaultyProxy(server.endpoint) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        before = dict(os.environ)
        os.environ.update(server.env | {"AWS_ENDPOINT_URL": proxy.endpoint})
        try:
            yield Bucket(proxy, f"s3://{server.bucket}/chaos", server.endpoint)
        finally:
            proxy.shutdown()
            thread.join()
            server.stop()
            os.environ.clear()
            os.environ.update(before)
