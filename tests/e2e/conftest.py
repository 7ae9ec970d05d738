"""Servers for the end-to-end tests."""

from collections.abc import Iterator

import pytest

from tests.prefect_server import PrefectServer, start_prefect_server


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[PrefectServer]:
    """A real Prefect server, started by the first test that asks for it."""
    server = start_prefect_server()
    yield server
    server.stop()
