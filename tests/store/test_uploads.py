"""Files that a real S3 server takes in parts: gone on with after a kill, whole beside others."""

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.faulty_proxy import FaultyProxy
from tests.support.racers import race_processes, upload
from vae.store.progress import TRANSFERS, Progress
from vae.store.s3 import S3Store
from vae.store.s3_uploads import (
    PartedFile,
    Upload,
    finish,
    list_uploads,
    send_file,
    sweep_uploads,
)

PART_BYTES = 5 << 20  # the least that S3 takes but for the last
UPLOAD = """
import sys
from pathlib import Path
from vae.store.s3 import S3Store

bucket, prefix, part_bytes, path = sys.argv[1:]
S3Store(bucket, prefix, int(part_bytes)).create_file("large", Path(path))
"""


def make_store(uri: str) -> S3Store:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    return S3Store(bucket, prefix, PART_BYTES)


@pytest.fixture
def parted(s3_uri: str) -> S3Store:
    """A store that sends what is larger than 5 MiB in parts."""
    return make_store(s3_uri)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """Two files of three parts each, the first of which they share."""
    folder = tmp_path_factory.mktemp("files")
    first = os.urandom(PART_BYTES)
    paths = [folder / "a", folder / "b"]
    for path in paths:
        path.write_bytes(first + os.urandom(PART_BYTES + 1000))
    yield paths
    for path in paths:
        path.unlink()


def list_unfinished(store: S3Store) -> list[str]:
    """The keys of the uploads that are neither completed nor aborted."""
    return [each["Key"] for each in list_uploads(store._call, f"{store.prefix}/")]


def begin(store: S3Store, path: Path, numbers: range) -> tuple[PartedFile, Upload]:
    """An upload of a file to the key "large", of which some parts are there."""
    file, key = PartedFile.cut(path, PART_BYTES), f"{store.prefix}/large"
    upload_id = store._call("create_multipart_upload", Key=key)["UploadId"]
    sent = {
        number: store._call(
            "upload_part",
            Key=key,
            UploadId=upload_id,
            PartNumber=number,
            Body=file.read(number),
        )["ETag"].strip('"')
        for number in numbers
    }
    return file, Upload(upload_id, sent)


def list_sent(proxy: FaultyProxy) -> list[str]:
    """The numbers of the parts of "large" that were sent, in order."""
    return re.findall(r"^PUT \S+/large\?.*partNumber=(\d+)", "\n".join(proxy.asked), re.M)


def test_a_killed_upload_is_gone_on_with(
    s3_uri: str, proxy: FaultyProxy, files: list[Path]
) -> None:
    """By whoever uploads the file next: the parts that are there are not sent again."""
    store, killed = make_store(s3_uri), list[subprocess.Popen[bytes]]()

    def kill(_: str, key: str, query: str) -> str:
        if "partNumber=3" in query:
            os.kill(killed[0].pid, signal.SIGKILL)
            raise ConnectionResetError
        return ""

    proxy.refuse = kill
    given = [store.bucket, store.prefix, str(PART_BYTES), str(files[0])]
    with subprocess.Popen([sys.executable, "-c", UPLOAD, *given]) as process:
        killed.append(process)
    assert process.returncode == -signal.SIGKILL
    assert not store.exists("large")
    proxy.refuse = lambda *_: ""
    proxy.asked.clear()
    store.create_file("large", files[0])
    assert list_sent(proxy) == ["3"]
    assert store.read("large") == files[0].read_bytes()
    assert list_unfinished(store) == []


def test_a_failed_upload_is_gone_on_with(
    s3_uri: str, proxy: FaultyProxy, files: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    """What the network broke off leaves its parts; going on is told at once."""
    store = make_store(s3_uri)
    proxy.refuse = lambda method, key, query: "AccessDenied" if "partNumber=2" in query else ""
    with pytest.raises(Exception, match="refuses to write"):
        store.put_file("large", files[0])
    proxy.refuse = lambda *_: ""
    proxy.asked.clear()
    with caplog.at_level(logging.INFO, TRANSFERS):
        store.put_file("large", files[0])
    assert list_sent(proxy) == ["2", "3"]
    assert caplog.messages == ["upload   large  5 of 10 MB are there, and it goes on"]
    assert store.read("large") == files[0].read_bytes()


def test_an_upload_of_other_bytes_is_left_alone(parted: S3Store, files: list[Path]) -> None:
    """One part that differs is enough."""
    begin(parted, files[0], range(1, 3))
    parted.put_file("large", files[1])
    assert parted.read("large") == files[1].read_bytes()
    assert list_unfinished(parted) == [f"{parted.prefix}/large"]


def test_parts_that_are_not_known_by_their_md5_are_sent_again(files: list[Path]) -> None:
    """As under SSE-KMS, or of another size, or beyond the end."""
    file = PartedFile.cut(files[0], PART_BYTES)
    etag = f'"{file.hash(1)}"'
    good: Mapping[str, Any] = {"PartNumber": 1, "Size": PART_BYTES, "ETag": etag}
    assert file.holds(good)
    for bad in ({"ETag": '"0"'}, {"Size": 1}, {"PartNumber": 4}, {"PartNumber": 2}):
        assert not file.holds({**good, **bad})


@pytest.mark.parametrize("other", [0, 1])
def test_an_upload_that_somebody_else_ends(
    parted: S3Store, files: list[Path], other: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Completed with the same bytes it is done; with others, or aborted, it begins anew."""
    key, call = f"{parted.prefix}/large", parted._call
    file, mine = begin(parted, files[0], range(1, 2))
    theirs = PartedFile.cut(files[other], PART_BYTES)
    assert finish(call, key, theirs, mine, {})
    assert finish(call, key, file, mine, {}) == (other == 0)
    file, mine = begin(parted, files[0], range(1, 2))
    call("abort_multipart_upload", Key=key, UploadId=mine.upload_id)
    assert finish(call, key, file, mine, {}) == (other == 0)
    send_file(call, key, file)
    assert parted.read("large") == files[0].read_bytes()


def test_writers_at_once_write_whole_objects(parted: S3Store, files: list[Path]) -> None:
    """Processes that put and create one key, with bytes that are the same or begin so."""
    begin(parted, files[0], range(1, 2))  # which all of them may go on with
    made = race_processes(upload, [(parted, "put_file", "put", path) for path in files * 2])
    assert made == [True] * 4
    assert parted.read("put") in [path.read_bytes() for path in files]
    made = race_processes(upload, [(parted, "create_file", "large", path) for path in files * 2])
    assert set(made) == {True, False}
    assert parted.read("large") in [path.read_bytes() for path in files]
    assert not [key for key in list_unfinished(parted) if key.endswith("put")]


def test_what_nobody_goes_on_with_is_swept(parted: S3Store, files: list[Path]) -> None:
    """Once no part came for as long as it takes; what the store's prefix does not hold stays."""
    call = parted._call
    begin(parted, files[0], range(1, 2))
    call("create_multipart_upload", Key=f"{parted.prefix}2/a")
    parted.check_writable()
    sweep_uploads(call, f"{parted.prefix}/", 3600.0)
    assert list_unfinished(parted) == [f"{parted.prefix}/large"]
    sweep_uploads(call, f"{parted.prefix}/", 0.0)
    assert list_unfinished(parted) == []
    assert len(list(list_uploads(call, f"{parted.prefix}2/"))) == 1


def test_without_the_right_to_see_uploads_they_begin_anew(
    s3_uri: str, proxy: FaultyProxy, files: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    """A warning says so, and all else is as ever."""
    store = make_store(s3_uri)
    begin(store, files[0], range(1, 2))
    proxy.refuse = lambda method, key, query: (
        "AccessDenied" if query.startswith("uploads") and (method == "GET") else ""
    )
    store.check_writable()
    store.create_file("large", files[0])
    assert store.read("large") == files[0].read_bytes()
    [warned] = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert "begins anew, unfinished ones can't be seen" in warned


def test_progress_is_told_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of a short transfer; of a long one a line each time, and one at its end."""
    with caplog.at_level(logging.INFO, TRANSFERS):
        for every_s in (3600.0, 0.0):
            progress = Progress("upload", "models/m/a.bin", 1_500_000_000, every_s)
            progress.advance(312_000_000)
            progress.every_s = 3600.0
            progress.advance(8_000_000)
            progress.advance(1_180_000_000)
    assert caplog.messages == [
        "upload   a.bin  312 of 1,500 MB",
        "upload   a.bin  1,500 of 1,500 MB",
    ]
