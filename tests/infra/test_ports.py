"""Of what the compose stack listens on, nothing serves whoever shows no key."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.infra.compose_services import localize, resolve_compose
from tests.support.namespace import run_in_namespace

NEEDED = ("unshare", "ip", "ss", "wget", "openssl")
S3, PREFECT, GCS, DASHBOARD = 8333, 4200, 6379, 8265


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces are made by root")
@pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}")
def test_every_port_asks_for_a_key(tmp_path: Path) -> None:
    """The stack comes up by its own commands, and each port that it opens refuses a stranger.

    A Ray worker is a raylet like the one beside the head and the one beside the Prefect worker.
    """
    _, output, _ = resolve_compose(tmp_path)
    services = localize(json.loads(output)["services"])
    result = run_in_namespace("tests.infra.ask_ports", json.dumps(services), timeout_s=540)
    assert result.returncode == 0, result.stderr[-6000:]
    rows = json.loads(result.stdout)
    assert {S3, PREFECT, GCS, DASHBOARD} <= {int(port) for port in rows}
    assert [row for row in rows.values() if row["answered"]] == []
    assert [row for row in rows.values() if not row["refused"]] == []
