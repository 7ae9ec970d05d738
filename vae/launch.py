"""Training and evaluation on the cluster, seen from the driver: start them, follow them, return."""

import logging
import secrets
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer
from ray.util.queue import Empty, Queue
from torch import Tensor

from vae.checkpoint import History
from vae.cluster import Resources, preserved_signals
from vae.datasets import DatasetRef
from vae.errors import UserError
from vae.evaluate import Sums, chunks, likelihood_sums
from vae.experiment import Experiment
from vae.models import VAE
from vae.runs import Run
from vae.train import DivergedError
from vae.worker import train_worker

log = logging.getLogger("vae.launch")
Event = dict[str, Any]
MAX_FAILURES = 3  # worker groups that may be lost before a fit gives up
POLL_S = 0.2


def fit(
    run: Run,
    experiment: Experiment,
    dataset: DatasetRef,
    resources: Resources,
    on_event: Callable[[Event], None],
) -> History:
    """Train `experiment` with DDP, resumed from the run's checkpoints; every epoch's metrics.

    Blocks, and calls `on_event` in this process for every epoch, heartbeat and resume. Raises
    UserError if training diverged, RuntimeError led by the worker's own message if it failed.
    """
    events = Queue(actor_options={"num_cpus": 0})
    settings = {
        "experiment": experiment.to_dict(),
        "dataset": dataset.to_json(),
        "store": run.store.uri,
        "checkpoints": f"{run.prefix}/checkpoints",
        "events": events,
    }
    # Ray's own bookkeeping needs a folder that every node can write; it is ours to delete, because
    # what resumes a run are the checkpoints in the store.
    scratch = f"{run.prefix}/ray/{secrets.token_hex(4)}"
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=settings,
        scaling_config=ScalingConfig(
            num_workers=resources.num_workers, use_gpu=resources.use_gpu
        ),
        run_config=RunConfig(
            name="fit",
            storage_path=f"{run.store.uri}/{scratch}",
            failure_config=FailureConfig(
                max_failures=MAX_FAILURES, controller_failure_limit=MAX_FAILURES
            ),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    try:
        answer = followed(trainer, events, on_event)
    finally:
        events.shutdown(force=True)
        run.store.delete(scratch)
    if "diverged" in answer:
        raise DivergedError(answer["diverged"])
    history: History = answer["history"]
    return history


def followed(
    trainer: TorchTrainer, events: Queue, on_event: Callable[[Event], None]
) -> dict[str, Any]:
    """Run the trainer in this thread's place of work and pass its events on as they come."""
    following = Follower(events, on_event)
    try:
        with preserved_signals(), following:
            result = trainer.fit()
    except TrainingFailedError as error:
        raise RuntimeError(f"training failed: {first_failure(error)}") from error
    answer: dict[str, Any] = result.return_value
    return answer


def first_failure(error: TrainingFailedError) -> str:
    """The worker's own message, without Ray's frame around it."""
    failures = getattr(error, "worker_failures", None) or {}
    for rank, failure in sorted(failures.items()):
        return f"rank {rank}: {str(failure).strip().splitlines()[-1]}"
    return str(error).strip().splitlines()[-1]
