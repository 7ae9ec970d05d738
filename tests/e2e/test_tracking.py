"""A run tracked in W&B, online, against a server of its protocol; offline: test_pipeline.py."""

from pathlib import Path

import pytest

from tests.support.arrived_runs import check_arrived
from tests.support.command import vae
from tests.support.wandb_server import serve_wandb

SETTINGS = (
    "train.epochs=2",
    'search={trials=2, epochs=1, space={"model.latent_dim"={choice=[3, 4]}}}',
)
RUN = ("run", "--experiment", "tiny", "--store", "my store", "--run-id", "first", "--workers", "1")


@pytest.mark.slow
@pytest.mark.usefixtures("quiet_home")
def test_a_run_is_tracked_online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything of it is on the server when the command ends, and nothing waits in the store."""
    with serve_wandb() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
        done = vae(*RUN, *(part for text in SETTINGS for part in ("--set", text)), cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "W&B" not in done.stderr, done.stderr
        check_arrived(server, tmp_path / "my store")
    assert not (tmp_path / "my store/runs/first/wandb").exists()
