"""Training on the cluster, seen from the driver: start it, follow it, return."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

import ray
import torch
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow.fs import FSSpecHandler, PyFileSystem
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayError
from ray.train import (
    ControllerError,
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
)
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

from vae.cluster.channel import Channel, Event, start_channel
from vae.cluster.events import Follower
from vae.cluster.interruptible import run_interruptibly
from vae.cluster.session import Resources
from vae.cluster.trainer import Trainer, describe_failure, find_first_failure
from vae.cluster.worker import train_worker
from vae.data.datasets import DatasetRef
from vae.errors import EndedRunError, UserError
from vae.experiments.settings import Experiment
from vae.runs.run import Run
from vae.training.checkpoints import History
from vae.training.fit import initialize_model
from vae.training.step import DivergedError

log = logging.getLogger("vae.cluster.launch")
SAVE_S = 5.0  # for a checkpoint when the command is stopped; what was cancelled has to end soon
MAX_FAILURES = 3  # worker groups that may fail before a fit gives up


def run_fit(
    run: Run,
    experiment: Experiment,
    dataset: DatasetRef,
    resources: Resources,
    on_event: Callable[[Event], None],
    budget_s: float | None = None,
) -> History:
    """Train `experiment` with DDP, resumed from the run's checkpoints; every epoch's metrics.

    No epoch begins once those before have taken `budget_s` seconds. Blocks, and calls `on_event` in
    this process for every epoch, heartbeat and resume. Raises UserError if the model can't take the
    images, training diverged or a worker met what the user can fix, RuntimeError with the worker's
    own message if it failed.
    """
    check_model(experiment, dataset)
    channel = start_channel()
    job = {
        "experiment": experiment.to_dict(),
        "dataset": dataset.to_json(),
        "store": run.store.uri,
        "checkpoints": f"{run.prefix}/checkpoints",
        "lineage": run.start.to_lineage() if run.start else {},
        "budget_s": budget_s,
        "pictures": f"{run.prefix}/pictures",
        "channel": channel,
    }
    try:
        build = partial(build_trainer, job, resources)
        answer = follow_training(build, channel, on_event, resources)
    finally:
        ray.kill(channel)
    if "diverged" in answer:
        raise DivergedError(answer["diverged"])
    history: History = answer["history"]
    return history


def check_model(experiment: Experiment, dataset: DatasetRef) -> None:
    """Raise UserError for a network that can't take the images: Ray would try each worker again."""
    try:
        initialize_model(experiment, torch.zeros((1, *dataset.shape), dtype=torch.uint8))
    except ValueError as error:
        raise EndedRunError(f"model: {error}") from None
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # PyTorch has no class of its own for this
            raise
        raise EndedRunError(f"model: {str(error).splitlines()[0]}") from None


def build_trainer(job: dict[str, Any], resources: Resources) -> Trainer:
    """The Ray trainer of one fit.

    Its own bookkeeping stays in this process's memory, on S3 as well as on one machine: what
    resumes a run are the checkpoints in the store.
    """
    return Trainer(
        train_worker,
        train_loop_config=job,
        scaling_config=ScalingConfig(num_workers=resources.num_workers, use_gpu=resources.use_gpu),
        run_config=RunConfig(
            name="fit",
            storage_path="/",
            storage_filesystem=PyFileSystem(FSSpecHandler(MemoryFileSystem())),
            failure_config=FailureConfig(
                max_failures=MAX_FAILURES, controller_failure_limit=MAX_FAILURES
            ),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )


def follow_training(
    build: Callable[[], Trainer],
    channel: ActorHandle[Channel],
    on_event: Callable[[Event], None],
    resources: Resources,
) -> dict[str, Any]:
    """Run trainers until one is done, passing their events on as they come; rank 0's answer.

    Left at once for what the user has to fix, because Ray would start the workers again.
    """
    try:
        with Follower(channel, on_event, resources) as follower:
            result = fit_again(build, channel, follower.refused)
    except TrainingFailedError as error:
        failure = find_first_failure(error)
        if isinstance(failure, UserError):
            raise failure from error
        raise RuntimeError(f"training failed: {describe_failure(failure)}") from error
    answer: dict[str, Any] = result.return_value
    return answer


def fit_again(
    build: Callable[[], Trainer], channel: ActorHandle[Channel], refusal: Future[None]
) -> Any:
    """The result of a trainer, and of another one as often as Ray gives up waiting for room.

    That is no failure: the cluster may grow.
    """
    while True:
        trainer = build()
        try:
            return run_interruptibly(
                trainer.fit, refusal, partial(stop_training, trainer, channel, refusal)
            )
        except ControllerError as error:
            if not isinstance(error.controller_failure, WorkerGroupStartupTimeoutError):
                raise


def stop_training(trainer: Trainer, channel: ActorHandle[Channel], refusal: Future[None]) -> None:
    """Have training saved, if that takes no longer than SAVE_S, and end it."""
    if not refusal.done():
        with suppress(GetTimeoutError, RayError):
            ray.get(channel.ask_to_save.remote(), timeout=SAVE_S)
    trainer.stop()
