"""A store to fill, and what is kept of it."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.filled_stores import FilledStore
from vae.upkeep.plan import Policy
from vae.upkeep.sweep import make_policy

MakePolicy = Callable[..., Policy]


@pytest.fixture
def filled(tmp_path: Path) -> FilledStore:
    """An empty store in a folder, to be filled."""
    return FilledStore(tmp_path, time.time())


@pytest.fixture
def policy(filled: FilledStore) -> Policy:
    """Two versions and thirty days, as of now."""
    return make_policy(2, "30d", filled.now_s)
