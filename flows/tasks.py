"""Every Prefect task: retries and a timeout around one stage.

A retry is cheap and safe because the stage looks in the store first: a training that was killed
goes on from its last checkpoint. What a user has to fix is not retried.
"""

import logging
import signal
from collections.abc import Callable
from functools import wraps
from typing import Any

from prefect import State, task
from prefect._internal.control_listener import get_intent
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import TerminationSignal
from prefect.states import Cancelled
from prefect.task_engine import TaskRunTimeoutError

from flows.stages import Stage
from vae.errors import FailedRunError, UserError, describe_error

log = logging.getLogger("vae.pipeline")


def make_task(stage: Stage, work: Callable[..., Any], run_id: str = "") -> Any:
    """The Prefect task of a stage: two retries, and the store instead of Prefect's cache.

    The task's run is named after the stage and the run, which Prefect's UI then shows.
    """
    decorate: Any = task(
        name=stage.name,
        task_run_name=f"{stage.name}-{run_id}" if run_id else None,
        description=stage.does,
        retries=2,
        retry_delay_seconds=[5, 60],
        retry_condition_fn=should_retry,
        timeout_seconds=stage.timeout_s,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    return decorate(end_cancelled(work))


def end_cancelled(work: Callable[..., Any]) -> Callable[..., Any]:
    """The same work, which ends as Cancelled with its flow run.

    Prefect (3.8) takes the signal that ends a cancelled run for a crash of the task that it hits.
    """

    @wraps(work)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return work(*args, **kwargs)
        except TerminationSignal:
            if get_intent() != "cancel":
                raise
            return Cancelled(message="Its flow run was cancelled.")

    return run


def run_task(made: Any, *args: Any) -> Any:
    """Run a task of `make_task`; where it was cancelled, end the flow run by the same signal."""
    result = made(*args)
    if isinstance(result, State):  # of the work itself, which returns none
        raise TerminationSignal(signal.SIGTERM)
    return result


def should_retry(task: Any, run: Any, state: Any) -> bool:
    """Whether trying again could help, and then why it has to: Prefect asks before it does.

    Never for what the user has to fix or this process can't go on without, nor once its time is up,
    which leaves the stage at work: another would run beside it.
    """
    error = state.result(raise_on_failure=False)
    if isinstance(error, UserError | FailedRunError | TaskRunTimeoutError):
        return False
    log.warning("%-8s is tried again: %s", task.name, describe_error(error))
    return True
