"""The node's cache: each file fetched once, by whichever process, and never more than its limit."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vae.data.mapped import map_array
from vae.data.node_cache import NodeCache, open_node_cache
from vae.data.verified import WrongContentError
from vae.errors import UserError
from vae.files import hash_bytes


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is noted of verified files goes with the test."""
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "home"))


def content(number: int) -> bytes:
    return bytes([number]) * 1000


def fetcher(data: bytes, fetched: list[bytes] | None = None) -> Callable[[Path], None]:
    """Writes these bytes, and notes that it was asked to."""

    def fetch(path: Path) -> None:
        path.write_bytes(data)
        if fetched is not None:
            fetched.append(data)

    return fetch


def names(cache: NodeCache) -> set[str]:
    return {path.name for path in cache.files.iterdir()}


def test_racing_readers_fetch_once(tmp_path: Path) -> None:
    """Of many that want one file at once, one fetches it and all read the same."""
    cache, fetched = NodeCache(tmp_path / "cache", 10_000), list[bytes]()

    def read(_: int) -> bytes:
        with cache.hold(hash_bytes(content(1)), fetcher(content(1), fetched)) as file:
            return file.read()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(16))) == [content(1)] * 16
    assert len(fetched) == 1


def test_what_is_not_as_it_should_be_is_not_kept(tmp_path: Path) -> None:
    """Wrong content is refused with its hash; a file that was damaged later is fetched again."""
    cache = NodeCache(tmp_path / "cache", 10_000)
    wanted = hash_bytes(content(1))
    with pytest.raises(WrongContentError, match=hash_bytes(content(2))):
        cache.hold(wanted, fetcher(content(2)))
    assert names(cache) == set()
    assert not any(cache.fetching.iterdir())
    cache.hold(wanted, fetcher(content(1))).close()
    (cache.files / wanted).write_bytes(b"torn")
    with cache.hold(wanted, fetcher(content(1))) as file:
        assert file.read() == content(1)


def test_the_longest_unused_goes_first_and_what_is_held_stays(tmp_path: Path) -> None:
    """Room is made of what nobody holds; where that is not enough, one line says what would be."""
    cache = NodeCache(tmp_path / "cache", 3000)
    digests = [hash_bytes(content(number)) for number in range(5)]
    held = [cache.hold(digests[number], fetcher(content(number))) for number in range(3)]
    held[1].close()
    held[2].close()
    cache.hold(digests[1], fetcher(content(1))).close()  # used after 2
    held[1] = cache.hold(digests[3], fetcher(content(3)))
    assert names(cache) == {digests[0], digests[1], digests[3]}
    held[2] = cache.hold(digests[4], fetcher(content(4)))
    assert names(cache) == {digests[0], digests[3], digests[4]}
    with pytest.raises(UserError, match="must be at least 4000") as told:
        cache.hold(digests[1], fetcher(content(1)))
    assert "\n" not in str(told.value)
    for file in held:
        file.close()
    cache.hold(digests[1], fetcher(content(1))).close()


def test_a_map_holds_its_file(tmp_path: Path) -> None:
    """The file object may be closed: as long as the array lives, nobody removes what it reads."""
    import numpy as np

    np.save(tmp_path / "a.npy", np.arange(200, dtype=np.uint8))
    data = (tmp_path / "a.npy").read_bytes()
    cache = NodeCache(tmp_path / "cache", len(data))
    with cache.hold(hash_bytes(data), fetcher(data)) as file:
        array = map_array(file)
    with pytest.raises(UserError, match="are in use"):
        cache.hold(hash_bytes(content(1)[:9]), fetcher(content(1)[:9]))
    assert array.tolist() == list(range(200))
    del array
    cache.hold(hash_bytes(content(1)[:9]), fetcher(content(1)[:9])).close()


KILLED = """
import os, signal, sys
from pathlib import Path
from vae.data.node_cache import NodeCache
def fetch(path):
    path.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
NodeCache(Path(sys.argv[1]), 10_000).hold(sys.argv[2], fetch)
"""


def test_a_killed_fetch_is_in_nobodys_way(tmp_path: Path) -> None:
    """After kill -9 the next one fetches, and what was half there goes, also of another file."""
    cache, digests = NodeCache(tmp_path / "cache", 10_000), [hash_bytes(content(n)) for n in (1, 2)]
    for digest in digests:
        process = subprocess.run([sys.executable, "-c", KILLED, str(cache.folder), digest])
        assert process.returncode == -signal.SIGKILL
    with cache.hold(digests[0], fetcher(content(1))) as file:
        assert file.read() == content(1)
    assert not any(cache.fetching.iterdir())


@pytest.mark.parametrize("given", ["5 GB", "-1", "1e9"])
def test_a_limit_is_a_number_of_bytes(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything else is refused in one line."""
    monkeypatch.setenv("VAE_CACHE_BYTES", given)
    with pytest.raises(UserError, match="VAE_CACHE_BYTES is"):
        open_node_cache()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """One line says which setting chooses another folder."""
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="set VAE_CACHE to a folder"):
        NodeCache(tmp_path / "cache", 10).hold(hash_bytes(b""), fetcher(b""))
