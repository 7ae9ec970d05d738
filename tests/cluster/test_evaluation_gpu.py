"""Jobs that take a GPU, which Ray need only believe in: no job here computes on one."""

import os
from collections.abc import Iterator

import pytest
import ray

from vae.cluster.evaluation import gather, request_slot, start_job
from vae.cluster.session import Resources, Workers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    """A local Ray session that says it has a GPU."""
    ray.init(address="local", num_cpus=1, num_gpus=1, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.parametrize(("gpus", "processes"), [(1, 1), (2, 3)])
def test_jobs_share_a_process_if_there_is_one_gpu(gpus: int, processes: int) -> None:
    """One after the other, where CUDA has begun already; it can't begin again on a second GPU."""
    slot = request_slot(Resources(cpus=1, gpus=gpus, workers=Workers()))
    pids = set()
    for _ in range(3):
        (pid,), _spans = gather([start_job(os.getpid, **slot)])
        pids.add(pid)
    assert len(pids) == processes
