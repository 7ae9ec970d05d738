"""A cluster that is too small for a training, on two real nodes of this machine."""

import gc
import json
import threading

import pytest
import ray
from ray.autoscaler._private.constants import AUTOSCALER_RESOURCE_REQUEST_CHANNEL
from ray.autoscaler.sdk import request_resources
from ray.cluster_utils import Cluster
from ray.experimental.internal_kv import _internal_kv_get
from ray.util import placement_group

from vae.cluster.events import find_shortage
from vae.cluster.session import Resources, Workers, leave_cluster, start_session

SMALL = {"num_cpus": 1, "object_store_memory": 100_000_000}


def demand() -> object:
    """What the cluster's autoscaler is asked for at this moment."""
    return json.loads(_internal_kv_get(AUTOSCALER_RESOURCE_REQUEST_CHANNEL) or "null")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_training_waits_for_a_cluster_that_may_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not refused, says what it waits for until there is room, and asks for nothing stale."""
    cluster = Cluster(initialize_head=True, head_node_args=SMALL)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    leaving = threading.Event()
    leaving.set()  # waits for no nodes that are still joining
    try:
        start_session(Workers(2, 2), leaving)
        request_resources(bundles=[{"CPU": 7}])  # as a node that was lost leaves it
        leave_cluster()

        resources = start_session(Workers(2, 2), leaving)
        assert demand() == []
        assert resources == Resources(1, 0, Workers(2, 2))
        workers = placement_group([{"CPU": 1}] * 2)
        assert find_shortage(resources) == (
            "waits for 2 CPUs: the cluster has 1, 1 of them free; it goes on when there are enough"
        )
        cluster.add_node(**SMALL)
        ray.get(workers.ready())
        assert find_shortage(resources) is None
    finally:
        leave_cluster()
        cluster.shutdown()
        del cluster
        gc.collect()  # now, or the sockets that Ray left open warn in another test
