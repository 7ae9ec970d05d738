"""What Ray runs of a trial that another process trains, with those that share its device."""

import uuid
from collections.abc import Iterator
from typing import Any

import ray
from ray.exceptions import RayTaskError

from tuning.told import Told, report


def run_shared_trial(candidate: dict[str, Any], *, devices: Any) -> None:
    """Have one candidate trained for the search's epochs, reporting every epoch's metrics."""
    name = uuid.uuid4().hex
    try:
        report(follow(candidate, name, devices))
    finally:  # also where Tune stops it
        devices.leave.remote(name)


def follow(candidate: dict[str, Any], name: str, devices: Any) -> Iterator[Told]:
    """What is told of every epoch. Raises what ended the trial."""
    gpus = ",".join(str(gpu) for gpu in ray.get_gpu_ids())
    place = ray.get_runtime_context().get_node_id(), gpus
    try:
        while told := ray.get(devices.advance.remote(place, name, candidate)):
            yield from told
    except RayTaskError as error:
        raise error.cause from None
