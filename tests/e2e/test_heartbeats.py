"""infra/automations.yaml on a real server: a run whose process is gone does not stay Running."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.test_deployment import command
from tests.support.prefect_api import Api, wait_until
from tests.support.prefect_server import PrefectServer

FILE = Path(__file__).parents[2] / "infra" / "automations.yaml"
DEFAULT_S = 180  # between two heartbeats, as Prefect 3.8.8 has it
SHORT_S, WITHIN_S = 30, 60  # the least that Prefect takes, and two of it
WAIT = "import time; from prefect import flow; flow(lambda: time.sleep(600), name='{}')()"


@pytest.fixture
def environment(prefect_server: PrefectServer) -> dict[str, str]:
    """What reaches the server and nothing else, with heartbeats as often as they can be."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    often = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(SHORT_S)}
    return inherited | often | prefect_server.env


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Callable[[str], "subprocess.Popen[bytes]"]]:
    """Start a flow that only waits, in a process of its own."""
    started = []

    def run(name: str) -> "subprocess.Popen[bytes]":
        code = [sys.executable, "-c", WAIT.format(name)]
        started.append(subprocess.Popen(code, env=environment, stderr=subprocess.DEVNULL))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def short_file(environment: dict[str, str], tmp_path: Path) -> Iterator[Path]:
    """The shipped file with shorter times, for as long as the test takes.

    Its server is that of other tests, whose runs send no heartbeat for longer.
    """
    file = tmp_path / "automations.yaml"
    file.write_text(FILE.read_text().replace("within: 600", f"within: {WITHIN_S}"))
    yield file
    command(environment, "prefect", "--no-prompt", "automation", "delete", "--all")


def test_no_healthy_run_can_be_taken_for_dead() -> None:
    """The file waits for three heartbeats at Prefect's default frequency, and some more."""
    from prefect.settings.models.flows import FlowsSettings

    [automation] = yaml.safe_load(FILE.read_text())["automations"]
    assert FlowsSettings.model_fields["heartbeat_frequency"].default == DEFAULT_S
    assert automation["trigger"]["within"] > 3 * DEFAULT_S


def test_a_killed_run_is_crashed_and_a_healthy_one_goes_on(
    environment: dict[str, str],
    start: Callable[[str], "subprocess.Popen[bytes]"],
    prefect_server: PrefectServer,
    short_file: Path,
) -> None:
    """kill -9 of a flow, and the server says Crashed."""
    said = command(environment, "prefect", "automation", "create", "--from-file", str(short_file))
    assert "vae-runs-without-heartbeat" in said
    with closing(Api(prefect_server.url)) as api:
        explain = partial(read_states, api)
        start("healthy")
        wait_until(lambda: count_heartbeats(api, "healthy"), explain)
        killed = start("killed")
        wait_until(lambda: count_heartbeats(api, "killed"), explain)
        killed.send_signal(signal.SIGKILL)
        wait_until(lambda: read_state(api, "killed")["type"] == "CRASHED", explain)
        assert "No heartbeat" in read_state(api, "killed")["message"]
        assert read_state(api, "healthy")["type"] == "RUNNING"
        assert count_heartbeats(api, "healthy") > 1


def find_run(api: Api, flow: str) -> Any:
    """The one run of a flow, or None."""
    runs = api.post("/flow_runs/filter", flows={"name": {"any_": [flow]}})
    return runs[0] if runs else None


def read_state(api: Api, flow: str) -> Any:
    """The state of a flow's one run."""
    return find_run(api, flow)["state"]


def read_states(api: Api) -> str:
    """What became of both flows, for who wonders why the test waits."""
    return str([find_run(api, flow) for flow in ("healthy", "killed")])


def count_heartbeats(api: Api, flow: str) -> int:
    """How many heartbeats of a flow's one run the server has kept."""
    run = find_run(api, flow)
    if run is None:
        return 0
    resource = {"id": [f"prefect.flow-run.{run['id']}"]}
    wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": resource}
    return len(api.post("/events/filter", filter=wanted)["events"])
