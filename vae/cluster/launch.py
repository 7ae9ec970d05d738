"""Training on the cluster, seen from the driver: start it, follow it, return."""

import contextvars
import logging
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Self
from urllib.parse import quote

import ray
import torch
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer
from ray.util.queue import Empty, Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vae.cluster.session import Resources, run_interruptibly
from vae.cluster.worker import train_worker
from vae.data.datasets import DatasetRef
from vae.errors import UserError, describe_error
from vae.experiments.settings import Experiment
from vae.runs.run import Run
from vae.store.promises import Store
from vae.training.checkpoints import History
from vae.training.fit import initialize_model
from vae.training.step import DivergedError

log = logging.getLogger("vae.cluster.launch")
Event = dict[str, Any]
MAX_FAILURES = 3  # worker groups that may be lost before a fit gives up
POLL_S = 0.2


def run_fit(
    run: Run,
    experiment: Experiment,
    dataset: DatasetRef,
    resources: Resources,
    on_event: Callable[[Event], None],
) -> History:
    """Train `experiment` with DDP, resumed from the run's checkpoints; every epoch's metrics.

    Blocks, and calls `on_event` in this process for every epoch, heartbeat and resume. Raises
    UserError if the model can't take the images, training diverged or a worker met what the user
    can fix, RuntimeError with the worker's own message if it failed.
    """
    check_model(experiment, dataset)
    # On this process's node, or the loss of another one would take the queue with it.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    events = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
    # Ray's own bookkeeping needs a folder that every node can write; it is ours to delete, because
    # what resumes a run are the checkpoints in the store.
    scratch = f"{run.prefix}/ray"
    job = {
        "experiment": experiment.to_dict(),
        "dataset": dataset.to_json(),
        "store": run.store.uri,
        "checkpoints": f"{run.prefix}/checkpoints",
        "events": events,
    }
    try:
        storage = f"{run.store.uri}/{scratch}/{secrets.token_hex(4)}"
        trainer = build_trainer(job, resources, quote_uri(storage))
        answer = follow_trainer(trainer, events, on_event)
    finally:
        events.shutdown(force=True)
        discard(run.store, scratch)
    if "diverged" in answer:
        raise DivergedError(answer["diverged"])
    history: History = answer["history"]
    return history


def discard(store: Store, prefix: str) -> None:
    """Delete what this fit and killed ones before it have left; the fit's outcome matters more.

    Another fit of the same run, at the same time, needs it no more once its workers have begun.
    """
    try:
        with store.explain_errors():
            store.delete(prefix)
    except UserError as error:
        log.warning("%s was not deleted: %s", prefix, error)


def check_model(experiment: Experiment, dataset: DatasetRef) -> None:
    """Raise UserError for a network that can't take the images: Ray would try each worker again."""
    try:
        initialize_model(experiment, torch.zeros((1, *dataset.shape), dtype=torch.uint8))
    except ValueError as error:
        raise UserError(f"model: {error}") from None
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # PyTorch has no class of its own for this
            raise
        raise UserError(f"model: {str(error).splitlines()[0]}") from None


def build_trainer(job: dict[str, Any], resources: Resources, storage: str) -> TorchTrainer:
    """The Ray trainer of one fit; it keeps its bookkeeping at the URI `storage`."""
    return TorchTrainer(
        train_worker,
        train_loop_config=job,
        scaling_config=ScalingConfig(num_workers=resources.num_workers, use_gpu=resources.use_gpu),
        run_config=RunConfig(
            name="fit",
            storage_path=storage,
            failure_config=FailureConfig(
                max_failures=MAX_FAILURES, controller_failure_limit=MAX_FAILURES
            ),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )


def quote_uri(uri: str) -> str:
    """A URI in a store as Ray reads it, which decodes what follows s3:// as it does file://."""
    return quote(uri, safe=":/") if uri.startswith("s3://") else uri


class Follower(threading.Thread):
    """A context that hands events to `on_event` on its own thread, while the main one blocks."""

    def __init__(self, events: Queue, on_event: Callable[[Event], None]) -> None:
        super().__init__(name="follow-fit", daemon=True)
        self.events, self.on_event = events, on_event
        self.over = threading.Event()
        self.refused: Future[None] = Future()  # fails with what a worker says the user has to fix
        self.context = contextvars.copy_context()  # of the flow run: its logs belong to it

    def run(self) -> None:
        """Poll until the context ends and nothing is left."""
        self.context.run(self.poll)

    def poll(self) -> None:
        """Pass on what comes, in the context of whoever started to follow."""
        while True:
            last_look = self.over.is_set()
            try:
                for event in self.events.get_nowait_batch(self.events.qsize()):
                    self.tell(event)
            except Empty:
                pass
            if last_look:
                return
            self.over.wait(POLL_S)

    def tell(self, event: Event) -> None:
        """Pass an event on; a worker's warning is logged here, where people look.

        Of what the user has to fix, the first worker's word is taken.
        """
        if "warning" in event:
            logging.getLogger(event["logger"]).warning("%s", event["warning"])
        elif "refused" in event:
            if not self.refused.done():
                self.refused.set_exception(event["refused"])
        else:
            self.on_event(event)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()


def follow_trainer(
    trainer: TorchTrainer, events: Queue, on_event: Callable[[Event], None]
) -> dict[str, Any]:
    """Run the trainer, passing its events on as they come; rank 0's answer.

    Left at once for what the user has to fix, because Ray would start the workers again.
    """
    try:
        with Follower(events, on_event) as follower:
            result = run_interruptibly(trainer.fit, follower.refused)
    except TrainingFailedError as error:
        failure = find_first_failure(error)
        if isinstance(failure, UserError):
            raise failure from error
        raise RuntimeError(f"training failed: {describe_error(failure)}") from error
    answer: dict[str, Any] = result.return_value
    return answer


def find_first_failure(error: TrainingFailedError) -> BaseException:
    """What a worker raised, without Ray's frame: what the user can fix, or of the lowest rank."""
    failures = getattr(error, "worker_failures", {})
    raised = [getattr(failures[rank], "_base_exc", failures[rank]) for rank in sorted(failures)]
    return next((one for one in raised if isinstance(one, UserError)), [*raised, error][0])
