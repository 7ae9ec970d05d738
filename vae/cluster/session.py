"""One Ray session for a whole flow: joined or started, and the process left as it was found."""

import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from vae.cpus import count_cpus
from vae.errors import UserError, extract_message

OBJECT_STORE_BYTES = 1_000_000_000  # of a local session: two copies of the largest shipped dataset
JOINING_S = 60.0  # how long nodes that are not there yet are waited for
CPU_WORKERS = 2  # what "auto" means without a GPU: the smallest number that is really distributed
COORDINATOR = "AutoscalingCoordinator"  # Ray's name for it


@dataclass(frozen=True)
class Workers:
    """How many training workers: at least `low`, at most `high`; None leaves it to the cluster."""

    low: int | None = None
    high: int | None = None

    @staticmethod
    def parse(text: str | int) -> "Workers":
        """'auto', '4', or elastic '1:4'. Raises UserError for anything else."""
        if text == "auto":
            return Workers()
        match = re.fullmatch(r"(\d+)(?::(\d+))?", str(text))
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= low <= high:
            raise UserError(f"workers is '{text}', must be auto, a number from 1, or MIN:MAX")
        return Workers(low, high)


@dataclass(frozen=True)
class Resources:
    """What the cluster has, and what training asks of it."""

    cpus: int
    gpus: int
    workers: Workers

    @property
    def use_gpu(self) -> bool:
        """Whether each worker gets a GPU: the cluster decides, not the driver's machine."""
        return self.gpus > 0

    @property
    def slots(self) -> int:
        """How many single-process jobs run side by side, one device each; 1 before any is there."""
        return self.gpus or max(1, self.cpus)

    @property
    def num_workers(self) -> int | tuple[int, int]:
        """What ScalingConfig takes: a number, or (min, max) for elastic training."""
        low, high = self.fewest, self.workers.high or self.fewest
        return low if low == high else (low, high)

    @property
    def fewest(self) -> int:
        """Workers without which training can't begin."""
        return self.workers.low or self.gpus or min(CPU_WORKERS, self.slots)

    def check(self) -> Self:
        """Raise UserError if training could never be scheduled on what there is."""
        if self.fewest > self.slots:
            kind = "GPU" if self.gpus else "CPU"
            raise UserError(
                f"workers is {self.fewest}, but the cluster has {self.slots} {kind}s and each "
                f"worker takes one: give at most {self.slots}"
            )
        return self


def check_local(workers: Workers) -> None:
    """Refuse, before anything starts, more workers than a local session could have."""
    if not os.environ.get("RAY_ADDRESS") and not os.path.exists("/dev/nvidia0"):
        Resources(count_local_cpus(), 0, workers).check()


def count_local_cpus() -> int:
    """CPUs that a local session offers: those of this process, and enough for "auto"."""
    return max(CPU_WORKERS, count_cpus())


@contextmanager
def join_cluster(workers: Workers) -> Iterator[Future[Resources]]:
    """A context with a Ray session; once it is there, what it has and training may ask of it.

    With RAY_ADDRESS set it joins that cluster, at once. Otherwise it always starts a new local one,
    so that a stray cluster is never joined, while the context goes on; and ends it afterwards.
    Raises UserError if the cluster can't be reached, here, or this machine is too small, in the
    future. A cluster that is too small may grow: training waits there, and says for what.
    """
    # Not in the main thread, where Ray would replace signal handlers for good, and with them the
    # one by which Prefect acknowledges that a run was cancelled.
    with ThreadPoolExecutor(1, "join-ray") as thread:
        leaving = threading.Event()
        joining = thread.submit(start_session, workers, leaving)
        try:
            if os.environ.get("RAY_ADDRESS"):
                joining.result()
            yield joining
        finally:
            leaving.set()
            wait([joining])
            leave_cluster()


def leave_cluster() -> None:
    """End a local session, or this process's work on the cluster that it joined; at once."""
    import ray

    ray.shutdown()


def start_session(workers: Workers, leaving: threading.Event) -> Resources:
    """Begin the Ray session of this process, which waits for nothing more once it is `leaving`."""
    import ray

    address = os.environ.get("RAY_ADDRESS")
    if address:
        wait_for_address(address, leaving)
    local: dict[str, Any] = {
        "num_cpus": count_local_cpus(),
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": False,  # ten processes, for a page that ends with the command
    }
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if address else local),
        )
    except (ConnectionError, ValueError, ray.exceptions.AuthenticationError) as error:
        where = f"no Ray cluster at RAY_ADDRESS={address}" if address else "no Ray session here"
        raise UserError(f"{where}: {extract_message(error)}") from error
    if address:
        clear_demand()
    # A cluster that was just started has nodes still joining; a local session has but this one.
    deadline = time.monotonic() + (JOINING_S if address else 0)
    while True:
        total = ray.cluster_resources()
        resources = Resources(int(total.get("CPU", 0)), int(total.get("GPU", 0)), workers)
        if not address:
            return resources.check()
        wanted = workers.low or CPU_WORKERS
        if wanted <= resources.slots or time.monotonic() > deadline or leaving.wait(1):
            return resources


def clear_demand() -> None:
    """Take back what Ray Train asked the autoscaler for from a node that is gone.

    It asks through one process for the whole cluster; that ends with its node, and what it last
    asked for would hold machines for ever.
    """
    import ray
    from ray.autoscaler.sdk import request_resources

    try:
        ray.get_actor(COORDINATOR, namespace=COORDINATOR)
    except ValueError:
        request_resources(bundles=[])


def wait_for_address(address: str, leaving: threading.Event) -> None:
    """Until something listens at a HOST:PORT, for JOINING_S: Ray itself would try for 14 minutes.

    Raises UserError if nothing does by then, or once the session is `leaving`.
    """
    host, _, port = address.rpartition(":")
    if "/" in address or not port.isdecimal():
        return  # Ray knows other forms of address, and what to say of the wrong ones
    deadline = time.monotonic() + JOINING_S
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except (OSError, OverflowError) as error:  # a port above 65535
            if time.monotonic() > deadline or leaving.wait(1):
                reason = extract_message(error)
                raise UserError(f"no Ray cluster at RAY_ADDRESS={address}: {reason}") from None
