"""Who is told of what a person decided, and what is said where nobody can be."""

import socket
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.moves import tell_best, tell_deletion
from tests.support.versions import publish_version, write_version
from vae.registry.curate import promote_by_hand
from vae.registry.pointers import Best
from vae.registry.read import read_manifest
from vae.store.promises import Store

UNMOVED = "W&B's alias best was not moved: W&B is offline (WANDB_MODE)"


@pytest.fixture
def best(local: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Best:
    """A version that was made the best by hand."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    publish_version(local, "v1", write_version(tmp_path / "v1", 90.0))
    return promote_by_hand(local, "m", "v1", "")


def test_without_a_server_prefect_is_no_matter(local: Store, best: Best) -> None:
    """One line, about W&B."""
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert tell_best(local, "m", best, None) == [UNMOVED]
        told = tell_deletion(local, read_manifest(local, "m", "v1")[1], "")
    assert told == ["W&B's artifact of v1 was not tagged: W&B is offline (WANDB_MODE)"]


def test_a_server_that_is_away_is_a_line(local: Store, best: Best) -> None:
    """The move is made, and the command goes on; nothing is told of no change."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/api"
        with temporary_settings({PREFECT_API_URL: url}):
            prefect, wandb = tell_best(local, "m", best, None)
            assert tell_best(local, "m", best, best) == [UNMOVED]
    assert prefect.startswith(
        f"Prefect was not told: no Prefect server answers at PREFECT_API_URL={url}"
    )
    assert wandb == UNMOVED
