"""A cluster that grows and shrinks under a training, on two real nodes of this machine."""

import gc
import json
import threading
import time

import pytest
import ray
from ray.autoscaler._private.constants import AUTOSCALER_RESOURCE_REQUEST_CHANNEL
from ray.autoscaler.sdk import request_resources
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2
from ray.experimental.internal_kv import _internal_kv_get
from ray.tune.search import Searcher
from ray.util import placement_group

from tuning.places import PlaceLimiter
from vae.cluster.channel import start_channel
from vae.cluster.events import NOTICE_S, Follower, find_shortage
from vae.cluster.session import Resources, Workers, leave_cluster, start_session
from vae.experiments.search import SearchConfig

SMALL = {"num_cpus": 1, "object_store_memory": 100_000_000}


def demand() -> object:
    """What the cluster's autoscaler is asked for at this moment."""
    return json.loads(_internal_kv_get(AUTOSCALER_RESOURCE_REQUEST_CHANNEL) or "null")


def check_that_a_notice_saves(node_id: str, resources: Resources) -> None:
    """Rank 0 is asked to, once, as soon as Ray has been told that the node will be taken away."""
    channel, report = start_channel(), {"saved": False}
    with Follower(channel, lambda event: None, resources):
        assert not ray.get(channel.report.remote(report))
        give_notice(node_id)
        while not ray.get(channel.report.remote(report)):
            time.sleep(0.1)
        assert not ray.get(channel.report.remote({"saved": True}))
        time.sleep(1.5 * NOTICE_S)
        assert not ray.get(channel.report.remote(report))


def give_notice(node_id: str) -> None:
    """What `ray start --block` does on SIGTERM, and a cloud's node provider ahead of its end."""
    later_ms = int(1000 * (time.time() + 600))
    reason = autoscaler_pb2.DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
    gcs = ray._private.worker.global_worker.gcs_client
    accepted, _ = gcs.drain_node(node_id, reason, "in a test", later_ms)
    assert accepted


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_training_waits_for_a_cluster_that_may_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not refused, says what it waits for until there is room, and asks for nothing stale.

    When a node is about to go, it is saved.
    """
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
        node = cluster.add_node(**SMALL)
        ray.get(workers.ready())
        assert find_shortage(resources) is None
        limiter = PlaceLimiter(Searcher("loss", "min"), SearchConfig(), use_gpu=False)
        assert limiter.count_places() == 3, "one waits, which an autoscaler sees"
        check_that_a_notice_saves(node.node_id, resources)
    finally:
        leave_cluster()
        cluster.shutdown()
        del cluster
        gc.collect()  # now, or the sockets that Ray left open warn in another test
