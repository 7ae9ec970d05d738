"""Training on the cluster, seen from the driver: start it, follow it, return."""

import logging
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray._private.state
import torch
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow.fs import FSSpecHandler, PyFileSystem
from ray import JobID, PlacementGroupID
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError, RayError
from ray.train import (
    ControllerError,
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
)
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.placement_group_callback import (
    PlacementGroupCleanerCallback,
)
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.callback import RayTrainCallback
from ray.util.placement_group import PlacementGroup, remove_placement_group

from vae.cluster.channel import Channel, Event, start_channel
from vae.cluster.events import Follower, list_placement_groups
from vae.cluster.interruptible import check_session, run_interruptibly
from vae.cluster.session import Resources
from vae.cluster.worker import train_worker
from vae.data.datasets import DatasetRef
from vae.errors import EndedRunError, UserError, describe_error
from vae.experiments.settings import Experiment
from vae.runs.run import Run
from vae.training.checkpoints import History
from vae.training.fit import initialize_model
from vae.training.step import DivergedError

log = logging.getLogger("vae.cluster.launch")
CONTROLLER = "TrainController"  # Ray's name for it
SAVE_S = 5.0  # for a checkpoint when the command is stopped; what was cancelled has to end soon
MAX_FAILURES = 3  # worker groups that may be lost before a fit gives up


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


def build_trainer(job: dict[str, Any], resources: Resources) -> TorchTrainer:
    """The Ray trainer of one fit.

    Its own bookkeeping stays in its processes' memory, on S3 as well as on one machine: what
    resumes a run are the checkpoints in the store.
    """
    trainer = TorchTrainer if os.environ.get("RAY_ADDRESS") else LocalTrainer
    return trainer(
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


class LocalTrainer(TorchTrainer):  # type: ignore[misc]
    """A trainer without Ray's cleaner of placement groups, which end with a local session.

    That is a process more, and asks whatever cluster Ray's folder names whether the controller
    lives: at the address that one has left behind, for 20 s of every fit.
    """

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        made: list[RayTrainCallback] = super()._create_default_callbacks()
        return [one for one in made if not isinstance(one, PlacementGroupCleanerCallback)]


def follow_training(
    build: Callable[[], TorchTrainer],
    channel: ActorHandle[Channel],
    on_event: Callable[[Event], None],
    resources: Resources,
) -> dict[str, Any]:
    """Run trainers until one is done, passing their events on as they come; rank 0's answer.

    Left at once for what the user has to fix, because Ray would start the workers again.
    """
    try:
        with Follower(channel, on_event, resources) as follower:
            stop = partial(stop_training, channel, follower.refused)
            result = fit_again(build, follower.refused, stop)
    except TrainingFailedError as error:
        failure = find_first_failure(error)
        if isinstance(failure, UserError):
            raise failure from error
        raise RuntimeError(f"training failed: {describe_error(failure)}") from error
    answer: dict[str, Any] = result.return_value
    return answer


def fit_again(
    build: Callable[[], TorchTrainer], refusal: Future[None], stop: Callable[[], None]
) -> Any:
    """The result of a trainer, and of another one as long as this one's controller is lost.

    The controller, a process of Ray's that looks after the workers, can't be started again alone.
    Waiting for room in the cluster is no failure, however often Ray gives it up.
    """
    lost = 0
    while True:
        try:
            return run_interruptibly(build().fit, refusal, stop)
        except ControllerError as error:
            if not isinstance(error.controller_failure, WorkerGroupStartupTimeoutError):
                raise
        except RayActorError as error:
            check_session()
            lost += 1
            if lost > MAX_FAILURES:
                raise RuntimeError(f"training failed: {describe_error(error)}") from error
            free_workers()
            log.warning(
                "train    the process that looks after the workers was lost, starting again "
                "(%d of at most %d times)",
                lost,
                MAX_FAILURES,
            )


def stop_training(channel: ActorHandle[Channel], refusal: Future[None]) -> None:
    """Have training saved, if that takes no longer than SAVE_S, and end it."""
    if not refusal.done():
        with suppress(GetTimeoutError, RayError):
            ray.get(channel.ask_to_save.remote(), timeout=SAVE_S)
    end_controllers()


def end_controllers() -> None:
    """Kill the processes that look after this process's workers, which end with them.

    Ray Train has them on this machine.
    """
    for pid in list_controllers():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def list_controllers() -> list[int]:
    """Their process ids.

    Of a local session as its raylet's children: who stops a command may have stopped Ray's
    processes as well, and a question to the GCS, when that is ending, ends this process.
    """
    raylets = ray._private.worker._global_node.all_processes.get("raylet", [])
    if raylets:
        started = Path(f"/proc/{raylets[0].process.pid}/task").glob("*/children")
        pids = [int(pid) for file in started for pid in read_process(file).split()]
        return [pid for pid in pids if CONTROLLER in read_process(Path(f"/proc/{pid}/cmdline"))]
    job = JobID.from_hex(ray.get_runtime_context().get_job_id())
    actors = ray._private.state.actors(job_id=job, actor_state_name="ALIVE").values()
    return [actor["Pid"] for actor in actors if actor["ActorClassName"] == CONTROLLER]


def read_process(file: Path) -> str:
    """What the system says of a process; nothing if that has ended."""
    with suppress(OSError):
        return file.read_text(errors="replace")
    return ""


def free_workers() -> None:
    """Give back the places in the cluster that a lost controller has kept for its workers.

    Ray's own cleaner asks the dashboard whether the controller is alive, and may get no answer.
    """
    for group in list_placement_groups():
        remove_placement_group(
            PlacementGroup(PlacementGroupID.from_hex(group["placement_group_id"]))
        )


def find_first_failure(error: TrainingFailedError) -> BaseException:
    """What a worker raised, without Ray's frame: what the user can fix, or of the lowest rank."""
    failures = getattr(error, "worker_failures", {})
    raised = [getattr(failures[rank], "_base_exc", failures[rank]) for rank in sorted(failures)]
    return next((one for one in raised if isinstance(one, UserError)), [*raised, error][0])
