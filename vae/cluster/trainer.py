"""Ray Train, its controller in this process: one process less to start, and to be lost."""

import asyncio
import logging
import os
import threading
from typing import Any

import ray
from ray.train import Result
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import RayTrainCallback
from ray.train.v2._internal.execution.context import TrainRunContext
from ray.train.v2._internal.execution.controller.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import ScalingPolicy
from ray.train.v2._internal.execution.scaling_policy.fixed import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import Worker, WorkerGroup

from vae.cluster.events import free_workers

# A process each: for Ray Data, which no worker reads, and for the places of a controller that ends
# before this process does.
UNUSED = (DatasetsCallback, PlacementGroupCleanerCallback)


class TrainingStoppedError(Exception):
    """Training was ended by the driver, which knows why."""


class Trainer(TorchTrainer):  # type: ignore[misc]
    """Ray's trainer, whose controller is part of the driver, as are all that it looks after.

    Ray starts a process for it, and three more that serve what is not used here: some 10 s of CPU
    for every fit. Groups of workers, their failures and elasticity are Ray Train's own.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.stopped = threading.Event()

    def stop(self) -> None:
        """End the workers, and with TrainingStoppedError the fit, from another thread."""
        self.stopped.set()
        free_workers()

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        made: list[RayTrainCallback] = super()._create_default_callbacks()
        return [one for one in made if not isinstance(one, UNUSED)]

    def _initialize_and_run_controller(self, scaling_policy: ScalingPolicy, **parts: Any) -> Result:
        if isinstance(scaling_policy, FixedScalingPolicy) and not os.environ.get("RAY_ADDRESS"):
            scaling_policy = LocalScalingPolicy(self.scaling_config)
        # What it logs of errors, with their tracebacks, is raised as well.
        logging.getLogger("ray.train").setLevel(logging.CRITICAL)
        controller = Controller(scaling_policy=scaling_policy, **parts)
        controller.stopped = self.stopped
        asyncio.run(controller.run())
        return controller.get_result()


class LocalScalingPolicy(FixedScalingPolicy):  # type: ignore[misc]
    """A number of workers in a local session, which has no autoscaler to ask for them."""

    def after_controller_start(self, train_run_context: TrainRunContext) -> None:
        """Ask nobody, nor at an end take back what was asked for."""

    def _maybe_send_resource_request(self) -> None:
        pass


class Group(WorkerGroup):  # type: ignore[misc]
    """Workers without a handle of their controller, which is no actor: they never ask it."""

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


class Controller(TrainController):  # type: ignore[misc]
    """Ray's controller, which ends when its trainer is stopped."""

    worker_group_cls = Group
    stopped: threading.Event

    async def _run_control_loop_iteration(self) -> None:
        if self.stopped.is_set():
            await self._scaling_policy.before_controller_shutdown()  # asks for no more nodes
            raise TrainingStoppedError
        await super()._run_control_loop_iteration()
