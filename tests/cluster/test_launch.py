"""Training seen from the driver: what it checks and tells before Ray starts anything."""

from dataclasses import replace

import pytest
from ray.train import ControllerError, TrainingFailedError, WorkerGroupError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback

from vae.cluster.launch import check_model, find_first_failure
from vae.data.datasets import DatasetRef
from vae.errors import UserError, describe_error
from vae.experiments.loading import load_experiment

DIGITS = DatasetRef(
    key="k", name="n", digest="d", shape=(1, 28, 28), counts={}, classes=10, files={}
)


def test_a_network_that_can_not_take_the_images() -> None:
    """It is refused in one line, where workers would find out one after the other."""
    experiment = load_experiment("mnist-conv")
    check_model(experiment, DIGITS)
    with pytest.raises(UserError, match="model: images are 30x28, ConvVAE needs multiples of 4"):
        check_model(experiment, replace(DIGITS, shape=(1, 30, 28)))
    too_large = load_experiment("mnist", {"model.latent_dim": 10**12})
    with pytest.raises(UserError, match=r"model: .* allocate memory: you tried"):
        check_model(too_large, DIGITS)


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
