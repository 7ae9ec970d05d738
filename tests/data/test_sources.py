"""Where bytes come from: real folders, a real HTTP server, real archives; every refusal is told."""

import gzip
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http_server import FileServer, served_files
from vae.data.sources import (
    Mirror,
    SourceError,
    Unreachable,
    fetch,
    find_cache,
    list_operator_mirrors,
    list_torchvision_mirrors,
)
from vae.errors import UserError
from vae.files import hash_bytes
from vae.store.open import open_store

CONTENT = bytes(range(256)) * 8
DIGESTS = {"images": hash_bytes(CONTENT), "labels": hash_bytes(b"labels")}


@pytest.fixture
def http() -> Iterator[FileServer]:
    """An HTTP server of the files put in its `files`."""
    with served_files() as server:
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache folder that does not exist yet."""
    return tmp_path / "cache" / "made-up"


def folder(path: Path, **files: bytes) -> Mirror:
    """A mirror in a folder; `images_gz` is the file images.gz."""
    path.mkdir()
    for name, data in files.items():
        (path / name.replace("_", ".")).write_bytes(data)
    return Mirror(str(path))


def closed_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("file_url", [False, True])
def test_a_folder_serves_plain_and_gzipped_files(tmp_path: Path, file_url: bool) -> None:
    """A mirror in a folder may hold each file with or without .gz, and be a path or a file URL."""
    folder(tmp_path / "m", images_gz=gzip.compress(CONTENT), labels=b"labels")
    mirror = Mirror((tmp_path / "m").as_uri() if file_url else f"{tmp_path}/m/")
    assert (mirror.read("images"), mirror.read("labels")) == (CONTENT, b"labels")


def test_http_serves_files_decompressed_or_not(http: FileServer) -> None:
    """A server may serve x.gz as it is, or decompressed on the way; x is asked for first."""
    http.files = {"/m/images.gz": gzip.compress(CONTENT), "/m/labels.gz": b"labels"}
    mirror = Mirror(f"{http.url}/m")
    assert (mirror.read("images"), mirror.read("labels")) == (CONTENT, b"labels")
    assert http.asked == ["/m/images", "/m/images.gz", "/m/labels", "/m/labels.gz"]


def test_what_one_source_lacks_the_next_gives(
    http: FileServer, tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Files may come from different sources; each failure is one logged line."""
    http.files = {"/images": CONTENT}
    second = folder(tmp_path / "second", labels=b"labels")
    found = fetch("made-up", DIGESTS, [Mirror(http.url), second], cache)
    assert found == {"images": CONTENT, "labels": b"labels"}
    assert [record.getMessage() for record in caplog.records] == [f"{http.url}: labels: not found"]
    assert {record.name for record in caplog.records} == {"vae.data.datasets"}


def test_a_wrong_hash_is_refused_by_name_and_hash(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Wrong content is never used: the log names source, file and both hashes."""
    bad = folder(tmp_path / "bad", images=b"other", labels=b"labels")
    good = folder(tmp_path / "good", images=CONTENT)
    assert fetch("made-up", DIGESTS, [bad, good], cache)["images"] == CONTENT
    (line,) = (record.getMessage() for record in caplog.records)
    assert line == (
        f"{bad.url}: images: refused, wrong content: "
        f"sha256 expected {hash_bytes(CONTENT)}, found {hash_bytes(b'other')}"
    )


def test_a_truncated_gzip_is_refused(tmp_path: Path) -> None:
    """Half a gzip file gives no bytes at all."""
    mirror = folder(tmp_path / "m", images_gz=gzip.compress(CONTENT)[:-9])
    with pytest.raises(SourceError, match="broken gzip"):
        mirror.read("images")


def test_a_download_cut_short_is_refused(http: FileServer) -> None:
    """A response shorter than its Content-Length gives no bytes at all."""
    http.files = {"/cut": CONTENT}
    with pytest.raises(SourceError):
        Mirror(http.url).read("cut")


def test_an_unreachable_source_is_asked_once(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After a failed connection the other files are not asked of that host."""
    dead = Mirror(f"http://user:sec@ret@127.0.0.1:{closed_port()}")
    good = folder(tmp_path / "good", images=CONTENT, labels=b"labels")
    assert len(fetch("made-up", DIGESTS, [dead, good], cache)) == 2
    (line,) = (record.getMessage() for record in caplog.records)
    assert "images: Cannot connect" in line
    assert "secret" not in line


@pytest.mark.parametrize("url", ["nowhere://bucket/data", "http://[bad/"])
def test_a_url_that_cannot_be_opened_is_a_failed_source(url: str) -> None:
    """An unknown protocol or a malformed URL counts as unreachable."""
    with pytest.raises(Unreachable):
        Mirror(url).read("images")


def test_a_bucket_serves_plain_and_gzipped_files(s3_uri: str) -> None:
    """An S3 URL is a mirror like any other, reached through the AWS_* variables."""
    store = open_store(s3_uri)
    store.put("m/images.gz", gzip.compress(CONTENT))
    store.put("m/labels", b"labels")
    mirror = Mirror(f"{s3_uri}/m")
    assert (mirror.read("images"), mirror.read("labels")) == (CONTENT, b"labels")
    with pytest.raises(SourceError, match="not found"):
        mirror.read("other")


def test_a_bucket_that_cannot_be_reached_is_a_failed_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An S3 mirror without a server behind it fails in seconds, in one line."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(Unreachable, match="Could not connect"):
        Mirror("s3://no-such-bucket/data").read("images")


def test_all_sources_failing_is_one_line_that_says_what_to_do(tmp_path: Path, cache: Path) -> None:
    """The error names the files, every source with its reason, and the variable to set."""
    bad = folder(tmp_path / "bad", images=b"other")
    dead = Mirror(f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(UserError) as raised:
        fetch("made-up", DIGESTS, [bad, dead], cache)
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith("made-up: no source gave images, labels (tried ")
    assert f"{bad.url}: images: refused" in message
    assert f"{dead.url}: images: Cannot connect" in message
    assert "VAE_DATA_MIRROR" in message
    assert not cache.exists()


def test_a_verified_file_is_fetched_once(tmp_path: Path, cache: Path) -> None:
    """What was verified is served from the cache, where no temporary file is left."""
    mirror = folder(tmp_path / "m", images=CONTENT, labels=b"labels")
    first = fetch("made-up", DIGESTS, [mirror], cache)
    assert fetch("made-up", DIGESTS, [], cache) == first
    assert sorted(path.name for path in cache.iterdir()) == ["images", "labels"]


def test_a_corrupt_cache_is_refused_and_fetched_again(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A changed file in the cache is named with both hashes and replaced."""
    mirror = folder(tmp_path / "m", images=CONTENT, labels=b"labels")
    fetch("made-up", DIGESTS, [mirror], cache)
    (cache / "images").write_bytes(b"rot")
    assert fetch("made-up", DIGESTS, [mirror], cache)["images"] == CONTENT
    (line,) = (record.getMessage() for record in caplog.records)
    assert str(cache / "images") in line
    assert hash_bytes(CONTENT) in line
    assert hash_bytes(b"rot") in line
    assert (cache / "images").read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a usable cache the data is still fetched, and the log says so."""
    mirror = folder(tmp_path / "m", images=CONTENT, labels=b"labels")
    (tmp_path / "file").write_bytes(b"")
    assert len(fetch("made-up", DIGESTS, [mirror], tmp_path / "file")) == 2
    assert any("not kept" in record.getMessage() for record in caplog.records)


def test_the_operators_mirror_holds_a_folder_per_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    """VAE_DATA_MIRROR is the root of the mirror; unset or empty there is none."""
    monkeypatch.setenv("VAE_DATA_MIRROR", "s3://bucket/data/")
    assert list_operator_mirrors("mnist") == [Mirror("s3://bucket/data/mnist")]
    monkeypatch.setenv("VAE_DATA_MIRROR", "")
    assert list_operator_mirrors("mnist") == []


@pytest.mark.parametrize("dataset", ["MNIST", "FashionMNIST", "CIFAR10"])
def test_torchvision_names_the_public_mirrors(dataset: str) -> None:
    """The installed torchvision still lists at least one folder for each dataset."""
    mirrors = list_torchvision_mirrors(dataset)
    assert mirrors
    assert all(mirror.url.startswith("http") for mirror in mirrors)


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VAE_CACHE wins over XDG_CACHE_HOME, which wins over ~/.cache."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("VAE_CACHE", raising=False)
    assert find_cache() == tmp_path / ".cache" / "vae-pipeline"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert find_cache() == Path("/xdg/vae-pipeline")
    monkeypatch.setenv("VAE_CACHE", "~/own")
    assert find_cache() == tmp_path / "own"
    monkeypatch.setenv("VAE_CACHE", "~nobody-of-that-name/own")
    with pytest.raises(UserError, match="VAE_CACHE '~nobody-of-that-name/own': there is no such"):
        find_cache()


def test_success_is_logged_with_its_source(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At level INFO the log says where each file came from."""
    mirror = folder(tmp_path / "m", images=CONTENT, labels=b"labels")
    with caplog.at_level(logging.INFO, logger="vae.data.datasets"):
        fetch("made-up", DIGESTS, [mirror], cache)
    assert [record.getMessage() for record in caplog.records] == [
        f"images from {mirror.url}",
        f"labels from {mirror.url}",
    ]
