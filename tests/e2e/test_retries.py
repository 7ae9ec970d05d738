"""Which stages Prefect tries again, on a real server."""

import time

import pytest
from prefect import flow
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_engine import TaskRunTimeoutError

from flows.stages import Stage
from flows.tasks import make_task
from tests.support.prefect_server import PrefectServer
from vae.errors import UserError

ATTEMPTS: list[str] = []


def slow() -> None:
    """Take longer than it may."""
    ATTEMPTS.append("slow")
    time.sleep(2)


def wrong() -> None:
    """Fail for what only the user can fix."""
    ATTEMPTS.append("wrong")
    raise UserError("no such dataset")


@flow
def both() -> None:
    """Run both, and go on."""
    with pytest.raises(TaskRunTimeoutError):
        make_task(Stage("slow", "", "", timeout_s=0.5), slow)()
    with pytest.raises(UserError):
        make_task(Stage("wrong", "", "", timeout_s=60), wrong)()


def test_what_could_not_help_is_not_tried_again(prefect_server: PrefectServer) -> None:
    """A mistake of the user's, and a stage that is out of time: it may still be at work."""
    with temporary_settings({PREFECT_API_URL: prefect_server.url}):
        both()
    assert ATTEMPTS == ["slow", "wrong"]
