"""Servers for the end-to-end tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.prefect_server import PrefectServer, start_prefect_server


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[PrefectServer]:
    """A real Prefect server, started by the first test that asks for it."""
    server = start_prefect_server()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database for the embedded servers of a test session: the first use makes it."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture
def quiet_home(prefect_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of someone with no account, no server and no settings of their own."""
    for name in ("PREFECT_API_URL", "WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "VAE_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(prefect_home))
