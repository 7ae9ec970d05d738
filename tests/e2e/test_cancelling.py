"""A served run that is cancelled, as Prefect's UI then shows it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.test_deployment import SCRIPTS, command, stop, until
from tests.support.prefect_api import Api
from tests.support.prefect_server import PrefectServer

FLOW = """
import time
from prefect import flow
from flows.stages import Stage
from flows.tasks import make_task, run_task

@flow
def two_stages():
    run_task(make_task(Stage("first", "", "", timeout_s=600), lambda: time.sleep(600)))
    run_task(make_task(Stage("second", "", "", timeout_s=600), lambda: {}))
"""


@pytest.fixture
def served(prefect_server: PrefectServer, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """`vae serve` with a flow of two stages, the first of which takes long."""
    (tmp_path / "long.py").write_text(FLOW)
    file = tmp_path / "prefect.yaml"
    deployment = {"name": "long", "entrypoint": "long.py:two_stages"}
    file.write_text(yaml.safe_dump({"deployments": [deployment]}))
    environment = os.environ | prefect_server.env | {"PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    with (tmp_path / "serve.log").open("wb") as log:
        serve = [str(SCRIPTS / "vae"), "serve", "--file", str(file)]
        process = subprocess.Popen(serve, env=environment, cwd=tmp_path, stdout=log, stderr=log)
    until(process, tmp_path, lambda: "serving" in (tmp_path / "serve.log").read_text())
    yield process
    stop(process)


def test_the_task_of_a_cancelled_run_is_cancelled_and_no_other_begins(
    served: "subprocess.Popen[bytes]", prefect_server: PrefectServer, tmp_path: Path
) -> None:
    """Both are Cancelled, and neither is Crashed."""
    environment = os.environ | prefect_server.env
    command(environment, "prefect", "deployment", "run", "two-stages/long")
    with closing(Api(prefect_server.url)) as api:
        [task] = until(served, tmp_path, lambda: find_running(api))
        command(environment, "prefect", "flow-run", "cancel", task["flow_run_id"])
        one = {"id": {"any_": [task["flow_run_id"]]}}
        until(served, tmp_path, lambda: find_state(api, "flow_runs", one) == ["CANCELLED"])
        until(served, tmp_path, lambda: find_state(api, "task_runs", one) == ["CANCELLED"])


def find_running(api: Api) -> Any:
    """The task runs of the flow that are at work."""
    flow = {"name": {"any_": ["two-stages"]}}
    running = {"state": {"type": {"any_": ["RUNNING"]}}}
    return api.post("/task_runs/filter", flows=flow, task_runs=running)


def find_state(api: Api, kind: str, flow_runs: dict[str, Any]) -> list[str]:
    """The types of the states of all runs of a kind, those of a flow run."""
    return [run["state"]["type"] for run in api.post(f"/{kind}/filter", flow_runs=flow_runs)]
