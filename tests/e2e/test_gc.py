"""The gc flow on a real Prefect server."""

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.support.filled_stores import FilledStore
from tests.support.prefect_server import PrefectServer

FLOW = "import sys; from flows.gc import gc; gc(store=sys.argv[1], keep=1, older_than='30d')"


def test_what_went_is_an_artifact(prefect_server: PrefectServer, tmp_path: Path) -> None:
    """The flow deletes as its deployment asks it to, and leaves a list in Prefect's UI."""
    filled = FilledStore(tmp_path, time.time())
    filled.add_run("old", "train")
    filled.age("runs", 31)
    filled.add_run("new", "train")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "VAE_"))}
    away = {"TMPDIR": str(tmp_path), "WANDB_DIR": str(tmp_path)}
    subprocess.run(
        [sys.executable, "-c", FLOW, filled.store.uri],
        env=inherited | prefect_server.env | away,
        check=True,
        timeout=120,
    )
    assert {key.split("/")[1] for key in filled.store.list("runs")} == {"new"}
    with httpx.Client(base_url=prefect_server.url, trust_env=False, timeout=30) as api:
        query = {"artifacts": {"key": {"any_": ["gc"]}}}
        [artifact] = api.post("/artifacts/filter", json=query).raise_for_status().json()
    assert "| runs/old | nothing written for 31 d |" in artifact["data"]
    assert "1 thing went of file://" in artifact["data"]
