"""Every Prefect task: retries and a timeout around one stage.

A retry is cheap and safe because the stage looks in the store first: a training that was killed
goes on from its last checkpoint. What a user has to mend is not retried.
"""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.task_engine import TaskRunTimeoutError

from flows import stages
from flows.session import Session
from vae.errors import UserError

HOUR_S = 3600


def may_pass(task: Any, run: Any, state: Any) -> bool:
    """Whether trying again could help: never for what the user has to mend.

    Nor once its time is up, which leaves the stage at work: another would run beside it.
    """
    return not isinstance(state.result(raise_on_failure=False), UserError | TaskRunTimeoutError)


def stage(name: str, timeout_s: float) -> Any:
    """The decorator of all stages: two retries, and the store instead of Prefect's cache."""
    return task(
        name=name,
        retries=2,
        retry_delay_seconds=[5, 60],
        retry_condition_fn=may_pass,
        timeout_seconds=timeout_s,
        cache_policy=NO_CACHE,
        persist_result=False,
    )


@stage("data", timeout_s=1 * HOUR_S)
def data(session: Session) -> dict[str, Any]:
    """Fetch, verify, split and store the dataset."""
    return stages.data(session)


@stage("search", timeout_s=48 * HOUR_S)
def search(session: Session) -> dict[str, Any]:
    """Find the best settings with Ray Tune."""
    return stages.search_space(session)


@stage("train", timeout_s=48 * HOUR_S)
def train(session: Session) -> dict[str, Any]:
    """Fit the winner with DDP on Ray Train, and bound the validation split."""
    return stages.train(session)


@stage("evaluate", timeout_s=12 * HOUR_S)
def evaluate(session: Session) -> dict[str, Any]:
    """Judge the best epoch on the test split."""
    return stages.evaluate(session)


@stage("publish", timeout_s=1 * HOUR_S)
def publish(session: Session) -> dict[str, Any]:
    """Publish the model and move the pointer to the best."""
    return stages.publish(session)
