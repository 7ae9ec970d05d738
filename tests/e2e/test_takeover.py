"""Deployed runs whose server, service or worker goes away in the middle: none is lost or stuck.

A training that was interrupted ends with the bits of one that was not.
"""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import descendants, named
from tests.support.operator import Operator, kill, operate
from tests.support.prefect_api import DEADLINE_S, wait_until
from tests.support.prefect_server import PrefectServer

pytestmark = pytest.mark.timeout(1800)  # two cores that others use took ten minutes for one


@pytest.fixture
def operator(
    request: pytest.FixtureRequest, prefect_server: PrefectServer, tmp_path: Path
) -> Iterator[Operator]:
    """A deployment of the test's own."""
    with operate(request.node.name.replace("_", "-"), prefect_server, tmp_path) as operator:
        yield operator


def find_raylet(worker: int) -> list[int]:
    """The raylet beside a worker, once it is there."""
    return [pid for pid in descendants(worker) if "raylet/raylet" in named(pid)]


def test_a_power_cut_and_a_server_restart(
    operator: Operator, prefect_server: PrefectServer
) -> None:
    """A run outlives its service and its server; one that is killed is continued by the next."""
    served = operator.serve()
    first = operator.trigger()
    operator.wait_for(first, "Running")
    kill([served.pid])
    served.wait()
    served = operator.serve()
    operator.wait_for(operator.trigger(), "Cancelled")  # the first is at work, with no service
    operator.wait_for_epochs(first)
    prefect_server.restart()
    lease = operator.read(first)["state"]["state_details"]["deployment_concurrency_lease_id"]
    renewal = f"/v2/concurrency_limits/leases/{lease}/renew"  # as the run does every 225 s
    operator.api.post(renewal, lease_duration=300)
    operator.wait_for(first, "Completed")

    killed = operator.trigger()
    operator.wait_for_epochs(killed)
    kill([served.pid, *descendants(served.pid)])
    served.wait()
    assert operator.read(killed)["state_name"] == "Running"

    served = operator.serve()
    ended = operator.wait_for(following := operator.trigger(), "Completed")
    assert f"run tiny-{killed} of one that crashed" in ended["state"]["message"]
    assert not operator.store.list(f"runs/tiny-{following}")
    crashed = operator.read(killed)["state"]
    assert crashed["name"] == "Crashed"
    assert f"its process on {socket.gethostname()} is gone" in crashed["message"]
    operator.check_same(first, killed)
    served.send_signal(signal.SIGTERM)
    assert served.wait(DEADLINE_S) == 0


def test_a_worker_that_is_rolled_out_and_one_that_loses_its_cluster(operator: Operator) -> None:
    """The next worker goes on with the run at work; the bits are those of a run left alone."""
    operator.join_a_new_cluster()
    worker = operator.work()
    first = operator.trigger()
    operator.wait_for(first, "Completed")

    handed = operator.trigger()
    operator.wait_for_epochs(handed)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(DEADLINE_S) == 128 + signal.SIGTERM
    assert operator.read(handed)["state_name"] == "AwaitingRetry"
    worker = operator.work()
    operator.wait_for(handed, "Running")
    kill(wait_until(lambda: find_raylet(worker.pid), operator.explain))
    assert worker.wait(DEADLINE_S) != 0
    worker = operator.work()
    ended = operator.wait_for(handed, "Completed")
    assert ended["run_count"] == 3
    operator.check_same(first, handed)
