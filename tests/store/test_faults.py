"""What the stores do when a writer is killed, the disk is full or the server is not there."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from s3fs.core import S3_RETRYABLE_ERRORS

from tests.support.faulty_proxy import FaultyProxy
from tests.support.s3_server import S3Server
from vae.errors import RefusedError, UserError
from vae.files import TEMPORARY
from vae.store.open import open_store
from vae.store.promises import Conflict, Store
from vae.store.s3_downloads import READ_ATTEMPTS

KILLED = """
import sys
from vae.store.open import open_store

store = open_store(sys.argv[1])
while True:
    store.put("a", b"new" * 10_000_000)
"""


def test_killed_in_put(tmp_path: Path) -> None:
    """A writer killed at any moment of a put leaves the old bytes or the new."""
    store = open_store(str(tmp_path / "store"))
    store.put("a", b"old")
    command = [sys.executable, "-c", KILLED, store.uri]
    with subprocess.Popen(command) as process:
        wait_for(lambda: bool(temporaries(tmp_path)))
        process.send_signal(signal.SIGKILL)
    assert store.read("a") in (b"old", b"new" * 10_000_000)
    assert store.list() == ["a"]


def test_stale_temporaries_are_swept(tmp_path: Path) -> None:
    """What a killed writer left a day ago is removed, what is being written is not."""
    store = open_store(str(tmp_path))
    store.put("a/b", b"x")
    old, new = tmp_path / "a" / f"{TEMPORARY}old", tmp_path / "a" / f"{TEMPORARY}new"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    store.check_writable()
    assert new.exists()
    assert not old.exists()


FULL = """
import resource, signal, sys
from pathlib import Path
from vae.errors import RefusedError, UserError
from vae.store.open import open_store

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
store = open_store(sys.argv[1])
writes = {
    "put": lambda: store.put("a", bytes(200_000)),
    "create": lambda: store.create("b", bytes(200_000)),
    "replace": lambda: store.replace("a", bytes(200_000), store.read_token("a")[1]),
    "download": lambda: store.download("big", Path(sys.argv[2])),
}
for name, write in writes.items():
    try:
        write()
    except (OSError, UserError) as error:
        print(f"{name}: {error}")
"""


def test_disk_full(tmp_path: Path) -> None:
    """A write that finds no room fails, leaves the old bytes and takes its temporary file away."""
    store = open_store(str(tmp_path / "store"))
    store.put("a", b"old")
    store.put("big", bytes(200_000))
    target = tmp_path / "target"
    target.write_bytes(b"old")
    command = [sys.executable, "-c", FULL, store.uri, str(target)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    no_room = f"store {store.uri}: File too large, make room and go on"
    writes = [f"{name}: {no_room}" for name in ("put", "create", "replace")]
    assert output.splitlines() == [*writes, "download: [Errno 27] File too large"]
    assert store.list() == ["a", "big"]
    assert store.read("a") == target.read_bytes() == b"old"
    assert not temporaries(tmp_path)


@pytest.mark.parametrize("faults", [["lost"], ["busy", "busy"], ["busy", "lost"]])
def test_undecided_writes_are_settled(s3_uri: str, proxy: FaultyProxy, faults: list[str]) -> None:
    """A conditional write that the server did, or was too busy for, is no lost race."""
    store = open_store(s3_uri)
    proxy.faults += faults
    store.create("a", b"1")
    assert not proxy.faults
    data, token = store.read_token("a")
    proxy.faults += faults
    store.replace("a", data + b"2", token)
    assert not proxy.faults
    assert store.read("a") == b"12"


def test_lost_races_stay_lost(s3_uri: str, proxy: FaultyProxy) -> None:
    """A busy server does not turn a lost race into a won one, even with equal bytes."""
    store = open_store(s3_uri)
    store.create("a", b"1")
    _, token = store.read_token("a")
    store.put("a", b"2")
    proxy.faults += ["busy"]
    with pytest.raises(FileExistsError):
        store.create("a", b"2")
    proxy.faults += ["busy"]
    with pytest.raises(Conflict):
        store.replace("a", b"2", token)
    assert not proxy.faults


def test_broken_reads(s3_uri: str, proxy: FaultyProxy, tmp_path: Path) -> None:
    """An answer that breaks off is read again; for ever broken, it fails, and the rest is kept."""
    store = open_store(s3_uri)
    store.put("a", bytes(range(256)) * 1000)
    proxy.faults += ["cut", "cut"]
    store.download("a", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == bytes(range(256)) * 1000
    proxy.faults += ["cut"] * READ_ATTEMPTS
    with pytest.raises(S3_RETRYABLE_ERRORS):
        store.download("a", tmp_path / "copy")
    assert not proxy.faults
    assert (tmp_path / "copy").read_bytes() == bytes(range(256)) * 1000
    store.put("large", bytes(range(256)) * 20_000)
    proxy.faults += ["cut"] * READ_ATTEMPTS
    with pytest.raises(S3_RETRYABLE_ERRORS):
        store.download_rest("large", tmp_path / "part")
    assert (tmp_path / "part").stat().st_size > 2_000_000
    store.download_rest("large", tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == bytes(range(256)) * 20_000


def test_writable(store: Store) -> None:
    """A writable store passes the check, which leaves nothing behind."""
    store.check_writable()
    assert store.list() == []


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    """A store below a file is not writable, and the file is named."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(UserError, match=f"{tmp_path}/file is not a folder"):
            open_store(str(path)).check_writable()


def test_read_only_folder() -> None:
    """A folder that takes no files is not writable, even to root."""
    with pytest.raises(UserError, match="not writable"):
        open_store("/proc/self/store").check_writable()


def test_missing_bucket(s3_uri: str) -> None:
    """A bucket that does not exist is named, with the command that creates it."""
    with pytest.raises(UserError, match="create-bucket --bucket no-such-bucket"):
        open_store("s3://no-such-bucket/x").check_writable()


def test_wrong_credentials(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that the server does not know are refused, naming the variable."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "unknown")
    with pytest.raises(UserError, match=r"refuses to write .* AWS_ACCESS_KEY_ID"):
        open_store(s3_uri).check_writable()


def test_no_credentials(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials the message says which variables to set."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(UserError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        open_store(s3_uri).check_writable()


def test_unreachable_endpoint(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint where nobody listens is named in one line."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        for name, value in (s3_server.env | {"AWS_ENDPOINT_URL": endpoint}).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UserError, match=f"cannot reach {endpoint}") as caught:
            open_store("s3://tests/x").check_writable()
    assert "\n" not in str(caught.value)


def temporaries(folder: Path) -> list[Path]:
    return list(folder.rglob(f"{TEMPORARY}*"))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


CALLS: dict[str, Callable[[Store], object]] = {
    "read": lambda store: store.read("a"),
    "exists": lambda store: store.exists("a"),
    "list": lambda store: store.list(),
    "put": lambda store: store.put("b", b"1"),
    "create": lambda store: store.create("b", b"1"),
    "delete": lambda store: store.delete("a"),
}
REFUSALS = {
    "AccessDenied": "must allow s3:ListBucket on tests, and s3:GetObject",
    "InvalidAccessKeyId": "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: revoked",
    "SignatureDoesNotMatch": "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: revoked",
    "ExpiredToken": "set AWS_SESSION_TOKEN and its keys anew",
    "RequestTimeTooSkewed": "set the clock of this machine",
    "NoSuchBucket": "no bucket 'tests' at .*, create it",
    "XMinioStorageFull": "make room",
}


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("call", CALLS)
def test_what_s3_refuses_is_asked_once(
    s3_uri: str, proxy: FaultyProxy, code: str, call: str
) -> None:
    """What only the user can change is one line that says how, and no request is sent again."""
    store = open_store(s3_uri)
    store.put("a", b"1")
    proxy.refuse = lambda method, key, query: code
    proxy.asked.clear()
    with pytest.raises(RefusedError, match=REFUSALS[code]) as caught:
        CALLS[call](store)
    assert "\n" not in str(caught.value)
    assert len(proxy.asked) == 1


def test_what_passes_is_asked_again(s3_uri: str, proxy: FaultyProxy) -> None:
    """A busy server is asked again."""
    store = open_store(s3_uri)
    busy = ["SlowDown", "SlowDown"]
    proxy.refuse = lambda method, key, query: busy.pop() if busy else ""
    store.put("a", b"1")
    assert store.read("a") == b"1"
    assert not busy
    busy += ["SlowDown", "SlowDown"]  # just when a run begins
    store.check_writable()
    assert not busy


@pytest.mark.parametrize(
    ("action", "refused"),
    [
        ("list", lambda method, key, query: method == "GET" and not key),
        ("delete", lambda method, key, query: method == "DELETE" or query.startswith("delete")),
        ("write", lambda method, key, query: method == "PUT"),
    ],
)
def test_a_right_that_is_missing_is_found_at_the_start(
    s3_uri: str, proxy: FaultyProxy, action: str, refused: Callable[[str, str, str], bool]
) -> None:
    """What the policy does not grant, and what it has to."""
    proxy.refuse = lambda *request: "AccessDenied" if refused(*request) else ""
    with pytest.raises(UserError, match=rf"refuses to {action} .* must allow s3:ListBucket"):
        open_store(s3_uri).check_writable()


def test_rights_below_the_prefix_are_enough(
    s3_uri: str, proxy: FaultyProxy, tmp_path: Path
) -> None:
    """Nothing of the bucket is touched but what is below the store's prefix."""
    prefix = s3_uri.removeprefix("s3://tests/")

    def refuse(method: str, key: str, query: str) -> str:
        listed = not key and f"prefix={prefix}/" in query
        return "" if listed or key.startswith(f"{prefix}/") or query == "delete" else "AccessDenied"

    proxy.refuse = refuse
    store = open_store(s3_uri)
    store.check_writable()
    store.create("a/b", b"1")
    store.put("a/large", bytes(12_000_000))
    store.download("a/large", tmp_path / "large")
    assert store.exists("a/b")
    assert not store.exists("a")
    assert store.list("a") == ["a/b", "a/large"]
    store.delete("a")
    assert store.list() == []


MOUNTED = """
import subprocess, sys
from vae.errors import RefusedError
from vae.store.open import open_store

root = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root], check=True)
store = open_store(root)
store.put("a", b"old")
token = store.read_token("a")[1]
subprocess.run(["mount", "-o", "remount,ro", root], check=True)
writes = {
    "put": lambda: store.put("a", b"new"),
    "create": lambda: store.create("b", b"new"),
    "replace": lambda: store.replace("a", b"new", token),
    "delete": lambda: store.delete("a"),
}
for name, write in writes.items():
    try:
        write()
    except RefusedError as error:
        print(f"{name}: {error}")
print(store.read("a").decode())
"""


def test_a_store_that_became_read_only(tmp_path: Path) -> None:
    """Every write says so in one line; what is there is read as before."""
    unshared = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshared, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount anything")
    command = [*unshared, sys.executable, "-c", MOUNTED, str(tmp_path)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "put",
        "create",
        "replace",
        "delete",
        "old",
    ]
    assert all("Read-only file system" in line for line in lines[:-1])
