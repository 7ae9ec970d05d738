"""Which runs a machine judges dead, and which one a flow run takes over: on a real server."""

import asyncio
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.orphans import MACHINE, hand_over, report_crashes
from flows.takeover import BEGUN_BY, list_crashed
from tests.support.prefect_api import Api
from tests.support.prefect_server import PrefectServer

HERE, ELSEWHERE = {MACHINE: socket.gethostname()}, {MACHINE: "another-machine"}


class Deployment:
    """A deployment of one slot, whose runs are made up."""

    def __init__(self, server: PrefectServer) -> None:
        self.api = Api(server.url)
        flow = self.api.post("/flows/", name="pipeline")["id"]
        limit = {
            "concurrency_limit": 1,
            "concurrency_options": {"collision_strategy": "CANCEL_NEW"},
        }
        made = self.api.post("/deployments/", name=uuid.uuid4().hex, flow_id=flow, **limit)
        self.id = made["id"]

    def trigger(self, labels: dict[str, str], *states: str, **parameters: str) -> str:
        """A flow run with these labels that went through these states; its id."""
        path = f"/deployments/{self.id}/create_flow_run"
        run: str = self.api.post(path, state={"type": "SCHEDULED"}, parameters=parameters)["id"]
        self.api.send("PATCH", f"/flow_runs/{run}/labels", labels)
        for state in states:
            self.api.post(f"/flow_runs/{run}/set_state", state={"type": state})
        return run

    def read_state(self, run: str) -> Any:
        """The state of a flow run: its type, and the reason."""
        state = self.api.send("GET", f"/flow_runs/{run}")["state"]
        return state["type"], state["message"]


@pytest.fixture
def deployment(prefect_server: PrefectServer) -> Iterator[Deployment]:
    """A deployment, and its server as that of this process."""
    made = Deployment(prefect_server)
    with temporary_settings({PREFECT_API_URL: prefect_server.url}):
        yield made
    made.api.close()


@pytest.mark.parametrize("last", ["RUNNING", "PENDING"])
def test_an_orphan_crashes_and_frees_its_slot(deployment: Deployment, last: str) -> None:
    """The message is one line that says where; the next run gets the slot at once."""
    states = ["PENDING", "RUNNING"][: 1 + (last == "RUNNING")]
    dead = deployment.trigger(HERE, *states)
    assert deployment.read_state(deployment.trigger(HERE, "PENDING"))[0] == "CANCELLED"
    asyncio.run(report_crashes())
    state, message = deployment.read_state(dead)
    assert state == "CRASHED"
    assert f"its process on {socket.gethostname()} is gone" in message
    following = deployment.trigger(ELSEWHERE, "PENDING", "RUNNING", "COMPLETED")
    assert deployment.read_state(following)[0] == "COMPLETED"


def test_another_machine_and_a_live_process_are_left_alone(deployment: Deployment) -> None:
    """Only what this machine took is judged, and only by the process that runs it."""
    elsewhere = deployment.trigger(ELSEWHERE, "PENDING", "RUNNING")
    asyncio.run(report_crashes())
    assert deployment.read_state(elsewhere)[0] == "RUNNING"
    deployment.api.post(f"/flow_runs/{elsewhere}/set_state", state={"type": "COMPLETED"})

    alive = deployment.trigger(HERE, "PENDING", "RUNNING")
    waits = [sys.executable, "-c", "import sys; sys.stdin.read()", "prefect.engine"]
    environment = os.environ | {"PREFECT__FLOW_RUN_ID": alive}
    with subprocess.Popen(waits, stdin=subprocess.PIPE, env=environment) as engine:
        asyncio.run(report_crashes())
        assert deployment.read_state(alive)[0] == "RUNNING"
        engine.kill()
    asyncio.run(report_crashes())
    assert deployment.read_state(alive)[0] == "CRASHED"


@pytest.mark.parametrize("last", [report_crashes, hand_over])
def test_a_run_whose_cancellation_was_asked_for_is_cancelled(
    deployment: Deployment, last: Any
) -> None:
    """It is neither continued by the next run nor by the next worker."""
    run = deployment.trigger(HERE, "PENDING", "RUNNING", "CANCELLING")
    asyncio.run(last())
    assert deployment.read_state(run)[0] == "CANCELLED"


@pytest.mark.parametrize("states", [("RUNNING",), ("RUNNING", "CRASHED")])
def test_what_a_worker_leaves_is_due_at_once(
    deployment: Deployment, states: tuple[str, ...]
) -> None:
    """The slot is free, and the run is scheduled for when it was due first.

    So is one that has just crashed, as a flow does when the Ray node beside it ends.
    """
    run = deployment.trigger(HERE, "PENDING", *states)
    asyncio.run(hand_over())
    left = deployment.api.send("GET", f"/flow_runs/{run}")
    assert left["state_name"] == "AwaitingRetry"
    assert left["next_scheduled_start_time"] == left["expected_start_time"]
    deployment.api.post(f"/flow_runs/{run}/set_state", state={"type": "PENDING"})
    assert deployment.read_state(run)[0] == "PENDING"


def test_which_predecessors_can_be_taken_over(deployment: Deployment) -> None:
    """The newest that crashed, with the same parameters, nobody at work on it, none done since."""
    ended = ("PENDING", "RUNNING", "CRASHED")
    deployment.trigger(HERE, *ended, store="a")
    deployment.trigger(HERE, "PENDING", "RUNNING", "COMPLETED", store="a")
    crashed = deployment.trigger(HERE, *ended, store="a")
    deployment.trigger(HERE, *ended, store="b")
    deployment.trigger(HERE, "PENDING", "RUNNING", "FAILED", store="a")
    this = deployment.trigger(HERE, store="a")
    assert list_predecessors(this) == [crashed]

    continued = deployment.trigger({BEGUN_BY: crashed}, "PENDING", "RUNNING", store="a")
    assert list_predecessors(this) == []
    deployment.api.post(f"/flow_runs/{continued}/set_state", state={"type": "CRASHED"})
    assert list_predecessors(this) == [continued]
    deployment.trigger({BEGUN_BY: crashed}, "PENDING", "RUNNING", "FAILED", store="a")
    assert list_predecessors(this) == []


def list_predecessors(this: str) -> list[str]:
    """The ids of the flow runs that this one may take over, newest first."""
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(uuid.UUID(this))
        return [str(crashed.id) for crashed in list_crashed(client, run)]
