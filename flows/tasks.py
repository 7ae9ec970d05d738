"""Every Prefect task: retries and a timeout around one stage.

A retry is cheap and safe because the stage looks in the store first: a training that was killed
goes on from its last checkpoint. What a user has to fix is not retried.
"""

import logging
from collections.abc import Callable
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
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
    return decorate(work)


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
