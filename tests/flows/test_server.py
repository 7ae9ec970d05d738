"""The command's own Prefect server: started in odd places, and what is said where it can't."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
from flows.server import check_answers, connect, launch_server
server = launch_server()
with connect(server):
    check_answers()
print("answers")
server.process.stdin.close()
"""


def start(folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A process that starts the server, asks it whether it answers, and ends it."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM],
        cwd=folder,
        env=inherited | {"PREFECT_HOME": str(folder / "home")} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


@pytest.mark.slow
def test_a_proxy_and_a_folder_of_modules_change_nothing(tmp_path: Path) -> None:
    """Loopback is never asked through a proxy, and no module of the current folder is run."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").write_text("print('http://127.0.0.1:1/api', flush=True)")
    (tmp_path / "vae.py").write_text("raise SystemExit('run in our place')")
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    done = start(tmp_path, **proxies)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "answers\n"


@pytest.mark.slow
def test_a_home_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    """The folder and the variable that names it are told, before a server is started."""
    (tmp_path / "file").write_text("")
    done = start(tmp_path, PREFECT_HOME=str(tmp_path / "file" / "home"))
    last = done.stderr.splitlines()[-1]
    assert f"UserError: Prefect can't write in {tmp_path / 'file' / 'home'}" in last
    assert "set PREFECT_HOME" in last


@pytest.mark.slow
def test_a_server_that_ends_says_why(tmp_path: Path) -> None:
    """The last line of what it said, and where its database is."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "prefect.db").write_text("no database" * 1000)
    last = start(tmp_path).stderr.splitlines()[-1]
    assert "Prefect's own server ended with status" in last
    assert "file is not a database" in last
    assert str(tmp_path / "home") in last
