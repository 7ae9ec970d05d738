"""What fails in the middle of a run on S3 is one line, at once, with the command that continues."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.command import DEADLINE_S, Started, descendants, named, vae
from tests.support.faulty_proxy import FaultyProxy
from vae.store.open import open_store
from vae.training.checkpoints import list_checkpoints

GO_ON = ("train", "--run-id", "expired")
SETTINGS = ("search.trials=0", "train.epochs=40", "train.precision=float64")


@pytest.mark.usefixtures("quiet_home")
def test_a_token_that_expires_in_mid_training(
    s3_uri: str, proxy: FaultyProxy, tmp_path: Path
) -> None:
    """It ends with status 2 and goes on; Prefect's server, killed before, is started again."""
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    store = open_store(s3_uri)
    begun = Started(*GO_ON, "--store", s3_uri, "--experiment", "tiny", *settings, cwd=tmp_path)
    begun.until(lambda: list_checkpoints(store, "runs/expired/checkpoints"))
    [server] = [pid for pid in descendants(begun.process.pid) if "flows.server" in named(pid)]
    os.kill(server, signal.SIGKILL)
    begun.until(lambda: "Prefect's own server ended with status -9, starting it" in begun.output)

    proxy.refuse = lambda method, key, query: "ExpiredToken" if "/checkpoints/" in key else ""
    assert begun.process.wait(DEADLINE_S) == 2, begun.output
    proxy.refuse = lambda method, key, query: ""
    last = begun.output.splitlines()[-1]
    assert last.startswith(f"vae: store {s3_uri}: {proxy.endpoint} refuses to write")
    assert "set AWS_SESSION_TOKEN and its keys anew" in last
    assert last.endswith(f"continue with: vae train --run-id expired --store {s3_uri}")
    assert "Traceback" not in begun.output

    done = vae(*GO_ON, "--store", s3_uri, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resumed after epoch" in done.stdout
