"""Jobs that take a GPU, which Ray need only believe in: no job here computes on one."""

import os
from collections.abc import Iterator

import pytest
import ray

from vae.judge import gathered, started


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    """A local Ray session that says it has a GPU."""
    ray.init(address="local", num_cpus=1, num_gpus=1, log_to_driver=False)
    yield
    ray.shutdown()


def test_jobs_share_a_process() -> None:
    """One after the other they run in one process, where PyTorch and CUDA are there already."""
    pids = set()
    for _ in range(3):
        (pid,), _spans = gathered([started(os.getpid, num_cpus=1, num_gpus=1)])
        pids.add(pid)
    assert len(pids) == 1
