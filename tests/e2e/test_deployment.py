"""Served deployments on a real Prefect server, with the store on a real S3 server."""

import json
import os
import signal
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.command import descendants, wait_for_end
from tests.support.prefect_api import DEADLINE_S, Api
from tests.support.prefect_server import PrefectServer

SCRIPTS = Path(sysconfig.get_path("scripts"))
DAY_S = 24 * 60 * 60
OFTEN_S = 10  # what is due while a run is at work is cancelled once it is 15 s late: one is left
TINY = {"search.epochs": 1, "train.epochs": 1}  # what is tested is who starts the run


@pytest.fixture
def environment(prefect_server: PrefectServer, s3_uri: str, tmp_path: Path) -> dict[str, str]:
    """What a person would export to use both servers, and nothing of Prefect's from outside."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    offline = {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "VAE_STORE": s3_uri}
    impatient = {"PREFECT_RUNNER_POLL_FREQUENCY": "1"}  # seconds; ten is a person's pace
    return inherited | offline | impatient | prefect_server.env


@pytest.fixture
def api(prefect_server: PrefectServer) -> Iterator[Api]:
    """What the server is asked through."""
    api = Api(prefect_server.url)
    yield api
    api.close()


@pytest.fixture
def deployed_before(api: Api) -> None:
    """The same deployment as `prefect deploy` left it: in a work pool, on another schedule."""
    api.post("/work_pools/", name="default", type="process")
    flow = api.post("/flows/", name="pipeline")["id"]
    schedule = {"schedule": {"cron": "0 2 * * *"}, "slug": "gone"}
    pool, schedules = {"work_pool_name": "default"}, {"schedules": [schedule]}
    api.post("/deployments/", name="nightly", flow_id=flow, **pool, **schedules)


@pytest.fixture
def served(
    deployed_before: None, environment: dict[str, str], tmp_path: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """`vae serve` with one deployment, `pipeline/nightly`, on a schedule that is not yet due."""
    file = write_deployment(tmp_path, environment["VAE_STORE"])
    with (tmp_path / "serve.log").open("wb") as log:
        command = [str(SCRIPTS / "vae"), "serve", "--file", str(file)]
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
    yield process
    stop(process)


def write_deployment(directory: Path, store: str) -> Path:
    """A prefect.yaml of the shape of the shipped one."""
    first_due = datetime.now(UTC) + timedelta(seconds=DAY_S)
    deployment = {
        "name": "nightly",
        "entrypoint": "flows.pipeline.pipeline",
        "parameters": {"experiment": "tiny", "overrides": TINY, "store": store, "workers": "1"},
        "schedules": [{"interval": DAY_S, "anchor_date": first_due.isoformat()}],
        "concurrency_limit": {"limit": 1, "collision_strategy": "CANCEL_NEW"},
        "work_pool": {"name": "default"},
    }
    file = directory / "prefect.yaml"
    file.write_text(yaml.safe_dump({"name": "test", "deployments": [deployment]}))
    return file


def stop(process: "subprocess.Popen[bytes]") -> int:
    """End it as a service manager would; a run at work is ended as well."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(120)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def test_runs_triggered_by_hand_and_by_schedule_publish(
    api: Api,
    served: "subprocess.Popen[bytes]",
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """A deployed run by hand and a scheduled one each publish a version that pulls and verifies.

    The service then ends in the middle of a third: cancelled, and nothing stays behind.
    """
    log = tmp_path / "serve.log"
    until(served, tmp_path, lambda: "serving pipeline/nightly" in log.read_text())
    deployment = api.find_deployment("pipeline/nightly")
    assert deployment["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    assert deployment["global_concurrency_limit"]["limit"] == 1
    assert deployment["work_pool_name"] is None
    [schedule] = deployment["schedules"]
    assert (schedule["slug"], schedule["active"]) == (None, True)
    command(environment, "prefect", "deployment", "run", "pipeline/nightly")
    until(served, tmp_path, lambda: api.list_runs("nightly", "RUNNING"))
    make_due(api, deployment["id"], schedule["id"])
    until(served, tmp_path, lambda: {False, True} <= completed(api))
    stop_at_work(served, api, tmp_path)

    listed = command(environment, "vae", "list", "tiny").splitlines()
    versions = [line for line in listed if line.endswith("nats")]
    assert len(versions) == len(api.list_runs("nightly", "COMPLETED"))
    assert len([line for line in versions if line.startswith("★")]) == 1
    pulled = command(environment, "vae", "pull", "tiny", "--to", str(tmp_path / "tiny"))
    assert "files verified" in pulled
    assert json.loads((tmp_path / "tiny" / "metrics.json").read_text())["test/nelbo"] > 0
    picture = tmp_path / "samples.png"
    command(environment, "vae", "sample", str(tmp_path / "tiny"), "--out", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")


def make_due(api: Api, deployment: str, schedule: str) -> None:
    """Move a schedule, as a person may: due every few seconds from now on."""
    often = {"interval": OFTEN_S, "anchor_date": datetime.now(UTC).isoformat()}
    api.send("PATCH", f"/deployments/{deployment}/schedules/{schedule}", {"schedule": often})


def stop_at_work(served: "subprocess.Popen[bytes]", api: Api, logs: Path) -> None:
    """End the service while the next run is at work: nothing runs on, and the server knows it."""
    [run] = until(served, logs, lambda: api.list_runs("nightly", "RUNNING"))
    processes = descendants(served.pid)
    assert processes
    assert stop(served) == 0
    wait_for_end(processes)
    assert run["id"] in [one["id"] for one in api.list_runs("nightly", "CANCELLED")]
    assert not api.list_runs("nightly", "RUNNING")
    assert api.find_deployment("pipeline/nightly")["paused"], "nothing serves the schedule any more"


def completed(api: Api) -> set[bool]:
    """Whether the completed runs were started by the schedule; a run that failed is an error."""
    assert not api.list_runs("nightly", "FAILED", "CRASHED")
    return {run["auto_scheduled"] for run in api.list_runs("nightly", "COMPLETED")}


def until(process: "subprocess.Popen[bytes]", logs: Path, ask: Callable[[], Any]) -> Any:
    """What `ask` answers once it is neither None nor empty, while the process lives."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline and process.poll() is None:
        if answer := ask():
            return answer
        time.sleep(0.5)
    raise AssertionError((logs / "serve.log").read_text(errors="replace"))


def command(environment: dict[str, str], program: str, *arguments: str) -> str:
    """Run one of the installed programs to its end; what it printed."""
    done = subprocess.run(
        [SCRIPTS / program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
