"""Ray Train, its controller in this process: one process less to start, and to be lost."""

import asyncio
import logging
import os
import threading
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.train import FailureConfig, Result, TrainingFailedError, WorkerGroupError
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2._internal.execution.callback import RayTrainCallback
from ray.train.v2._internal.execution.context import TrainRunContext
from ray.train.v2._internal.execution.controller.controller import TrainController
from ray.train.v2._internal.execution.failure_handling import FailureDecision
from ray.train.v2._internal.execution.failure_handling.default import DefaultFailurePolicy
from ray.train.v2._internal.execution.scaling_policy import ScalingPolicy
from ray.train.v2._internal.execution.scaling_policy.fixed import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import Worker, WorkerGroup
from ray.train.v2._internal.execution.worker_group.placement_group_handle import (
    PlacementGroupHandle,
)

from vae.cluster.events import free_workers
from vae.cluster.interruptible import SessionLostError, check_session
from vae.errors import TRACEBACKS, UserError, describe_error

log, tracebacks = logging.getLogger("vae.cluster.trainer"), logging.getLogger(TRACEBACKS)
# A process each: for Ray Data, which no worker reads, and for the places of a controller that ends
# before this process does.
UNUSED = (DatasetsCallback, PlacementGroupCleanerCallback)


class Trainer(TorchTrainer):  # type: ignore[misc]
    """Ray's trainer, whose controller is part of the driver, as are all that it looks after.

    Ray starts a process for it, and three more that serve what is not used here: some 7 s of a core
    before the first step. Groups of workers, their failures and elasticity are Ray Train's own.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.stopped = threading.Event()

    def stop(self) -> None:
        """End the workers, and the fit with an error, from another thread."""
        self.stopped.set()
        with suppress(SessionLostError):
            check_session()  # without it, Ray would end this process at the next question
            free_workers()

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        made: list[RayTrainCallback] = super()._create_default_callbacks()
        return [one for one in made if not isinstance(one, UNUSED)]

    def _initialize_and_run_controller(self, scaling_policy: ScalingPolicy, **parts: Any) -> Result:
        if isinstance(scaling_policy, FixedScalingPolicy) and not os.environ.get("RAY_ADDRESS"):
            scaling_policy = LocalScalingPolicy(self.scaling_config)
        parts["failure_policy"] = Failures(self.run_config.failure_config, self.stopped)
        # What it logs of errors, with their tracebacks, is raised as well, or told by Failures.
        logging.getLogger("ray.train").setLevel(logging.CRITICAL)
        controller = TrainController(scaling_policy=scaling_policy, **parts)
        controller.worker_group_cls = type("Group", (Group,), {"stopped": self.stopped})
        asyncio.run(controller.run())
        return controller.get_result()


class LocalScalingPolicy(FixedScalingPolicy):  # type: ignore[misc]
    """A number of workers in a local session, which has no autoscaler to ask for them."""

    def after_controller_start(self, train_run_context: TrainRunContext) -> None:
        """Ask nobody, nor at an end take back what was asked for."""

    def _maybe_send_resource_request(self) -> None:
        pass


class Failures(DefaultFailurePolicy):  # type: ignore[misc]
    """Ray's policy, which says why workers are started again, and ends a fit that is stopped."""

    def __init__(self, config: FailureConfig, stopped: threading.Event) -> None:
        super().__init__(config)
        self.stopped = stopped

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        """Whether to go on with other workers."""
        if self.stopped.is_set():
            return FailureDecision.RAISE
        decision: FailureDecision = super().make_decision(training_failed_error)
        failure = find_first_failure(training_failed_error)
        lost = isinstance(training_failed_error, WorkerGroupError)
        # What the user has to fix is about to end the fit.
        if lost and decision == FailureDecision.RETRY and not isinstance(failure, UserError):
            log.warning("train    starts its workers again: %s", describe_failure(failure))
            tracebacks.warning("of these workers", exc_info=training_failed_error)
        return decision


def find_first_failure(error: TrainingFailedError) -> BaseException:
    """What a worker raised, without Ray's frame: what the user can fix, or of the lowest rank."""
    failures = getattr(error, "worker_failures", {})
    raised = [getattr(failures[rank], "_base_exc", failures[rank]) for rank in sorted(failures)]
    return next((one for one in raised if isinstance(one, UserError)), [*raised, error][0])


def describe_failure(failure: BaseException) -> str:
    """It in one line; of a process that has ended Ray writes a page."""
    if isinstance(failure, RayActorError | WorkerHealthCheckFailedError):
        return "the process of a worker has ended, perhaps for want of memory"
    return describe_error(failure)


class Group(WorkerGroup):  # type: ignore[misc]
    """Workers that have no place once training is `stopped`, nor a handle of their controller.

    That is no actor, and they never ask it.
    """

    stopped: threading.Event

    def _create_placement_group(self, *given: Any) -> PlacementGroupHandle:
        handle: PlacementGroupHandle = super()._create_placement_group(*given)
        if self.stopped.is_set():  # after the place is made: `stop` has freed those before
            handle.shutdown()
            raise RuntimeError("training is stopped")
        return handle

    def _init_train_context_on_workers(
        self, workers: list[Worker], sync_actor: Any, train_context_args: dict[str, list[Any]]
    ) -> None:
        ray.get(
            [
                worker.actor.init_train_context.remote(
                    train_run_context=self._train_run_context,
                    distributed_context=worker.distributed_context,
                    synchronization_actor=sync_actor,
                    storage_context=self._storage_context,
                    worker_callbacks=self._worker_callbacks_to_propagate,
                    controller_actor=None,
                    **{name: values[rank] for name, values in train_context_args.items()},
                )
                for rank, worker in enumerate(workers)
            ]
        )
        self._decorate_worker_log_file_paths(workers)
