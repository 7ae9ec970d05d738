"""A wandb of the tests' own, and a server that it takes for W&B's."""

import os
from collections.abc import Iterator

import pytest

from tests.support.wandb_server import KEY, WandbServer, serve_wandb


@pytest.fixture(scope="module", autouse=True)
def private_wandb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """wandb with no key and no settings of the user's, and its files in a temporary folder."""
    home = tmp_path_factory.mktemp("wandb-home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "NETRC"):
            patch.setenv(name, str(home / name.lower()))
        yield patch


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A server that wandb takes for W&B's, with a key to it."""
    with serve_wandb() as served:
        monkeypatch.setenv("WANDB_BASE_URL", served.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield served
