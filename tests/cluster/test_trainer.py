"""How a training's failures are told, and which of them end it."""

import logging
import threading

import pytest
from ray.exceptions import ActorDiedError
from ray.train import ControllerError, FailureConfig, TrainingFailedError, WorkerGroupError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
from ray.train.v2._internal.execution.failure_handling import FailureDecision

from vae.cluster.trainer import Failures, describe_failure, find_first_failure
from vae.errors import UserError, describe_error

MENDABLE, LOST = UserError("train.npy is damaged"), RuntimeError("connection closed\nby peer")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (WorkerGroupError("both", {1: LOST, 0: KeyError("mu")}), "KeyError: 'mu'"),
        (WorkerGroupError("one", {1: LOST}), "RuntimeError: connection closed by peer"),
        (WorkerGroupError("both", {0: LOST, 1: MENDABLE}), "train.npy is damaged"),
        (ControllerError(OSError("disk full")), "disk full"),
    ],
)
def test_what_failed_first(error: TrainingFailedError, told: str) -> None:
    """What the user can fix, which fails the other ranks as well; else the lowest rank's error."""
    if isinstance(error, WorkerGroupError):  # as a worker's exception comes to the driver
        failures = error.worker_failures.items()
        error.worker_failures = {k: UserExceptionWithTraceback(v, "Traceback") for k, v in failures}
    assert describe_error(find_first_failure(error)).endswith(told)


def test_workers_that_are_started_again(caplog: pytest.LogCaptureFixture) -> None:
    """The line says why, but for what is about to end the fit; a stopped one does not go on."""
    stopped, lost = threading.Event(), WorkerGroupError("one", {0: LOST})
    failures = Failures(FailureConfig(max_failures=2), stopped)
    with caplog.at_level(logging.WARNING, "vae.cluster.trainer"):
        mendable = WorkerGroupError("one", {0: MENDABLE})
        assert failures.make_decision(mendable) == FailureDecision.RETRY
        assert not caplog.messages
        assert failures.make_decision(lost) == FailureDecision.RETRY
        told = "train    starts its workers again: RuntimeError: connection closed by peer"
        assert caplog.messages[0] == told
        assert failures.make_decision(lost) == FailureDecision.RAISE
    assert "the process of a worker has ended" in describe_failure(ActorDiedError())
    failures = Failures(FailureConfig(max_failures=2), stopped)
    stopped.set()
    assert failures.make_decision(lost) == FailureDecision.RAISE
