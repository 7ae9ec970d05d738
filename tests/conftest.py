"""Stores for the tests, a temporary folder and a real S3 server; and how long they may take."""

import logging
import os
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

import vae.cluster  # noqa: F401, sets what Ray reads, before any test imports Ray
from tests.support.faulty_proxy import FaultyProxy
from tests.support.s3_server import S3Server, start_s3_server
from vae.store.open import open_store
from vae.store.promises import Store

# There is a test process for each core: with as many threads in each, they wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
hypothesis.settings.register_profile("any machine", deadline=None)  # time fails no test
hypothesis.settings.load_profile("any machine")


E2E = Path(__file__).parent / "e2e"
SERVERS = {"s3_server", "prefect_server"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what asks for a server or is end to end; run files without quick tests first.

    Such a file would otherwise be the last, and the other processes would wait for it.
    """
    for item in items:
        if E2E in item.path.parents or SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
    quick = {item.path for item in items if not item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path in quick)


@pytest.fixture(autouse=True)
def kept_log_level() -> Iterator[None]:
    """A flow in the tests' process has the package speak: the tests after it are to be silent."""
    package = logging.getLogger("vae")
    level = package.level
    yield
    package.setLevel(level)


@pytest.fixture(autouse=True)
def kept_denormals() -> Iterator[None]:
    """A worker's CPU is for workers: denormals that were lost here would fail the tests after."""
    yield
    assert sys.float_info.min / 2 > 0


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A real S3 server, started by the first test that asks for it."""
    server = start_s3_server()
    yield server
    server.stop()


@pytest.fixture
def s3_uri(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh, empty prefix on the S3 server, with the environment set to reach it."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3_server.bucket}/{uuid.uuid4().hex}"


@pytest.fixture
def proxy(
    s3_uri: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultyProxy]:
    """The S3 server behind a proxy without faults as yet; the environment reaches the proxy."""
    with FaultyProxy(s3_server.endpoint) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.slow)])
def store_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URI of an empty store: a folder, then S3."""
    if request.param == "local":
        return f"file://{tmp_path / 'store'}"
    uri: str = request.getfixturevalue("s3_uri")
    return uri


@pytest.fixture
def store(store_uri: str) -> Store:
    """An empty store: a folder, then S3."""
    return open_store(store_uri)


@pytest.fixture
def local(tmp_path: Path) -> Store:
    """An empty store in a folder, where S3 has nothing to add."""
    return open_store(str(tmp_path / "local-store"))
