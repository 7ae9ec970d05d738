"""The stores' promises, on a local folder and on a real S3 server."""

import multiprocessing
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
import s3fs

from tests.support.racers import increment, race_processes, try_create
from vae.errors import UserError
from vae.store.open import open_store
from vae.store.promises import Conflict, Store
from vae.store.s3 import S3Store
from vae.store.s3_conditions import ONE_REQUEST_BYTES, check_one_request

T = TypeVar("T")
WRITERS = 16
LEAST_PART_BYTES = 5 << 20  # that S3 takes
COUNTS_PER_WRITER = 2


def race(work: Callable[[int], T], writers: int = WRITERS) -> list[T]:
    """Run `work` with 0, 1, … on threads that start together."""
    barrier = threading.Barrier(writers)

    def run(index: int) -> T:
        barrier.wait()
        return work(index)

    with ThreadPoolExecutor(writers) as pool:
        return list(pool.map(run, range(writers)))


def test_reads_what_was_put(store: Store) -> None:
    """An object reads back as it was last put, an empty one too."""
    for data in (b"first", b"", b"\x00" * 100_000):
        store.put("a/b", data)
        assert store.read("a/b") == data


def test_absent_objects(store: Store) -> None:
    """A missing key, a folder of objects and a key below an object are all no objects."""
    store.put("a/b", b"x")
    for key in ("a", "b", "a/b/c"):
        assert not store.exists(key)
        with pytest.raises(FileNotFoundError):
            store.read(key)
        with pytest.raises(FileNotFoundError):
            store.read_token(key)
    assert store.exists("a/b")


def test_list_is_by_folder(store: Store) -> None:
    """A prefix names a folder: its objects at any depth, not those that share its letters."""
    assert store.list() == []
    for key in ("a/2", "a/1/x", "ab/1", "c", "a é+%&?#"):
        store.put(key, b"")
    assert store.list() == sorted(["a/2", "a/1/x", "ab/1", "c", "a é+%&?#"])
    assert store.list("a") == ["a/1/x", "a/2"]
    assert store.list("c") == store.list("none") == []


def test_details_say_how_large_and_when(store: Store) -> None:
    """Sizes in bytes, times within a minute of now, of the same keys that are listed."""
    before = time.time()
    for key, size in (("a/1", 0), ("a/2/x", 70_000), ("b", 5)):
        store.put(key, bytes(size))
    entries = store.list_details()
    assert [(entry.key, entry.size_bytes) for entry in entries] == [
        ("a/1", 0),
        ("a/2/x", 70_000),
        ("b", 5),
    ]
    assert all(before - 60 < entry.modified_s < time.time() + 60 for entry in entries)
    assert [entry.key for entry in store.list_details("a")] == store.list("a")
    assert store.list_details("none") == store.list_details("b") == []


def test_empty_folders_are_details_and_are_deleted(store: Store, tmp_path: Path) -> None:
    """What clients leave as a folder is no object, is seen among the details, and goes."""
    store.put("a/kept", b"x")
    make_folder(store, tmp_path, "a/ray/x")
    assert store.list() == ["a/kept"]
    assert "a/ray/x/" in [entry.key for entry in store.list_details("a")]
    store.delete("a/ray")
    assert [entry.key for entry in store.list_details()] == ["a/kept"]


def make_folder(store: Store, tmp_path: Path, key: str) -> None:
    """An empty folder, as Ray leaves it in either store."""
    if store.uri.startswith("s3"):
        bucket, _, prefix = store.uri.removeprefix("s3://").partition("/")
        fs = s3fs.S3FileSystem(skip_instance_cache=True)
        fs.call_s3("put_object", Bucket=bucket, Key=f"{prefix}/{key}/", Body=b"")
    else:
        (tmp_path / "store" / key).mkdir(parents=True)


def test_a_folder_is_deleted_by_two_at_once(tmp_path: Path) -> None:
    """Whoever deletes a part of it first, it is gone and nobody fails."""
    store = open_store(str(tmp_path))
    for attempt in range(4):
        for index in range(70):
            store.put(f"a/{index % 7}/{attempt}-{index}", b"")
        race(lambda _: store.delete("a"), writers=4)
        assert store.list() == []


def test_list_of_more_than_a_page(s3_uri: str) -> None:
    """Listing and deleting go past the 1000 keys of one S3 request."""
    store = open_store(s3_uri)
    keys = [f"many/{index:04}" for index in range(1001)]
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda key: store.put(key, b""), keys))
    assert store.list("many") == keys
    store.delete("many")
    assert store.list() == []


def test_delete(store: Store) -> None:
    """Deleting takes the object or the folder, leaves its namesakes and is repeatable."""
    for key in ("a/1", "a/2/x", "ab", "b"):
        store.put(key, b"x")
    for prefix in ("a", "a", "b", "none"):
        store.delete(prefix)
    assert store.list() == ["ab"]
    with pytest.raises(ValueError, match="relative"):
        store.delete("")


def test_pickled_store(store: Store) -> None:
    """A store travels to a worker process as its URI."""
    store.put("a", b"x")
    copy = pickle.loads(pickle.dumps(store))
    assert copy.uri == store.uri == open_store(store.uri).uri
    assert copy.read("a") == b"x"


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_used_after_fork(store: Store) -> None:
    """A store opened and used before a fork works in the child."""
    store.put("a", b"x")
    child = multiprocessing.get_context("fork").Process(target=store.put, args=("b", b"child"))
    child.start()
    child.join(60)
    assert child.exitcode is not None  # which one, a flow that ran here before decides
    assert store.read("b") == b"child"


def test_create_once(store: Store) -> None:
    """A second create fails and changes nothing, with zero bytes and with equal bytes as well."""
    store.create("a", b"first")
    for data in (b"", b"first", b"second"):
        with pytest.raises(FileExistsError):
            store.create("a", data)
    assert store.read("a") == b"first"
    store.create("empty", b"")
    assert not try_create(store, "empty", b"")


@pytest.mark.parametrize("size", [0, 5, LEAST_PART_BYTES + 9])
def test_files_are_written_as_bytes_are(store: Store, tmp_path: Path, size: int) -> None:
    """Of any size, several parts too: overwritten by `put_file`, written once by `create_file`."""
    if isinstance(store, S3Store):
        store = S3Store(store.bucket, store.prefix, LEAST_PART_BYTES)
    path, given, other = (tmp_path / name for name in ("file", "given", "other"))
    path.write_bytes(bytes(size))
    given.write_bytes(bytes(size))
    other.write_bytes(b"other")
    store.put("put", b"before")
    store.put_file("put", given)
    store.create_file("created", path)
    for late in (path, other):
        with pytest.raises(FileExistsError):
            store.create_file("created", late)
    for key in ("put", "created"):
        assert store.read(key) == bytes(size)
        found = store.find_file(key)
        assert found is None or found.read_bytes() == bytes(size)
    assert (store.find_file("put") is None) == store.uri.startswith("s3")
    assert store.list() == ["created", "put"]


def test_what_a_server_cannot_write_once_is_refused() -> None:
    """More than one request takes, where uploads are completed on no condition: one line."""
    check_one_request(ONE_REQUEST_BYTES, "s3://b/x")
    with pytest.raises(UserError, match="s3://b/x: 5368709121 bytes, must be 5368709120 at most"):
        check_one_request(ONE_REQUEST_BYTES + 1, "s3://b/x")


def test_create_race(store: Store) -> None:
    """Of 16 racing creators one wins, and the object is that one's, whole."""
    won = race(lambda index: try_create(store, "a/b", bytes([index]) * 50_000))
    assert won.count(True) == 1
    assert store.read("a/b") == bytes([won.index(True)]) * 50_000
    assert store.list() == ["a/b"]


def test_create_race_of_equals(store: Store) -> None:
    """Of racing creators of the same bytes still only one is told that it won."""
    won = race(lambda _: try_create(store, "claim", b"same"), writers=4)
    assert won.count(True) == 1


def test_create_race_of_processes(tmp_path: Path) -> None:
    """Processes on one folder exclude each other as threads do."""
    store = open_store(str(tmp_path))
    objects = [(store, "a", bytes([number]) * 1000) for number in range(WRITERS)]
    won = race_processes(try_create, objects)
    race_processes(increment, [(store, "counter")] * WRITERS)
    assert won.count(True) == 1
    assert store.read("a") == bytes([won.index(True)]) * 1000
    assert int(store.read("counter")) == WRITERS


def test_replace(store: Store) -> None:
    """Replace needs the token of the bytes that are there, or None and no object."""
    store.replace("a", b"1", None)
    _, token = store.read_token("a")
    store.replace("a", b"2", token)
    for stale in (token, None):
        with pytest.raises(Conflict):
            store.replace("a", b"3", stale)
    data, token = store.read_token("a")
    assert data == b"2"
    store.delete("a")
    with pytest.raises(Conflict):
        store.replace("a", b"3", token)
    assert store.list() == []


def test_replace_race(store: Store) -> None:
    """No increment by 16 racing writers is lost, the first one included."""

    def work(_: int) -> None:
        for _ in range(COUNTS_PER_WRITER):
            increment(store, "counter")

    race(work)
    assert int(store.read("counter")) == WRITERS * COUNTS_PER_WRITER


def test_reads_are_never_torn(store: Store, tmp_path: Path) -> None:
    """A reader beside a writer sees one whole version, by read and by download."""
    size, copy = 300_000, tmp_path / "copy"
    store.put("a", bytes(size))

    def write() -> None:
        for value in range(1, 30):
            store.put("a", bytes([value]) * (size + value))

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not writing.done():
            store.download("a", copy)
            for data in (store.read("a"), copy.read_bytes()):
                assert data == bytes([data[0]]) * (size + data[0])
        writing.result()
