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

import httpx
import pytest
import yaml

from tests.support.command import descendants, wait_for_end
from tests.support.prefect_server import PrefectServer

SCRIPTS = Path(sysconfig.get_path("scripts"))
DEADLINE_S = 300.0  # one run takes about 40 s on two cores
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
def api(prefect_server: PrefectServer) -> Iterator[httpx.Client]:
    """What the server is asked through."""
    with httpx.Client(base_url=prefect_server.url, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def deployed_before(api: httpx.Client) -> None:
    """The same deployment as `prefect deploy` left it: in a work pool, on another schedule."""
    post(api, "/work_pools/", name="default", type="process")
    flow = post(api, "/flows/", name="pipeline")["id"]
    schedule = {"schedule": {"cron": "0 2 * * *"}, "slug": "gone"}
    pool, schedules = {"work_pool_name": "default"}, {"schedules": [schedule]}
    post(api, "/deployments/", name="nightly", flow_id=flow, **pool, **schedules)


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
    api: httpx.Client,
    served: "subprocess.Popen[bytes]",
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """A deployed run by hand and a scheduled one each publish a version that pulls and verifies.

    The service then ends in the middle of a third: cancelled, and nothing stays behind.
    """
    log = tmp_path / "serve.log"
    until(served, tmp_path, lambda: "serving pipeline/nightly" in log.read_text())
    deployment = find_deployment(api)
    assert deployment["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    assert deployment["global_concurrency_limit"]["limit"] == 1
    assert deployment["work_pool_name"] is None
    [schedule] = deployment["schedules"]
    assert (schedule["slug"], schedule["active"]) == (None, True)
    command(environment, "prefect", "deployment", "run", "pipeline/nightly")
    until(served, tmp_path, lambda: in_state(api, "RUNNING"))
    make_due(api, deployment["id"], schedule["id"])
    until(served, tmp_path, lambda: {False, True} <= completed(api))
    stop_at_work(served, api, tmp_path)

    listed = command(environment, "vae", "list", "tiny").splitlines()
    assert len(listed) == len(in_state(api, "COMPLETED"))
    assert len([line for line in listed if line.startswith("*")]) == 1
    pulled = command(environment, "vae", "pull", "tiny", "--to", str(tmp_path / "tiny"))
    assert "files verified" in pulled
    assert json.loads((tmp_path / "tiny" / "metrics.json").read_text())["test/nelbo"] > 0
    picture = tmp_path / "samples.png"
    command(environment, "vae", "sample", str(tmp_path / "tiny"), "--out", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")


def make_due(api: httpx.Client, deployment: str, schedule: str) -> None:
    """Move a schedule, as a person may: due every few seconds from now on."""
    often = {"interval": OFTEN_S, "anchor_date": datetime.now(UTC).isoformat()}
    send(api, "PATCH", f"/deployments/{deployment}/schedules/{schedule}", {"schedule": often})


def stop_at_work(served: "subprocess.Popen[bytes]", api: httpx.Client, logs: Path) -> None:
    """End the service while the next run is at work: nothing runs on, and the server knows it."""
    [run] = until(served, logs, lambda: in_state(api, "RUNNING"))
    processes = descendants(served.pid)
    assert processes
    assert stop(served) == 0
    wait_for_end(processes)
    assert run["id"] in [one["id"] for one in in_state(api, "CANCELLED")]
    assert not in_state(api, "RUNNING")
    assert find_deployment(api)["paused"], "nothing serves the schedule any more"


def find_deployment(api: httpx.Client) -> Any:
    """The deployment as the server knows it."""
    return send(api, "GET", "/deployments/name/pipeline/nightly").json()


def completed(api: httpx.Client) -> set[bool]:
    """Whether the completed runs were started by the schedule; a run that failed is an error."""
    assert not in_state(api, "FAILED", "CRASHED")
    return {run["auto_scheduled"] for run in in_state(api, "COMPLETED")}


def in_state(api: httpx.Client, *types: str) -> Any:
    """The runs whose state is of one of these types."""
    return post(api, "/flow_runs/filter", flow_runs={"state": {"type": {"any_": types}}})


def post(api: httpx.Client, path: str, **content: object) -> Any:
    """What the server answers to a request that it can't refuse."""
    return send(api, "POST", path, content).json()


def send(api: httpx.Client, method: str, path: str, content: object = None) -> httpx.Response:
    """Ask until the server's database is free for it, for which Prefect's own clients wait, too."""
    while (answer := api.request(method, path, json=content)).status_code == 503:
        time.sleep(0.1)
    return answer.raise_for_status()


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
