"""A service whose server is away, in Prefect's own loop."""

import asyncio

import httpx
import pytest
from prefect.utilities.services import critical_service_loop

from flows.service import PatientLook

REQUEST = httpx.Request("POST", "http://127.0.0.1:4200/api/deployments/get_scheduled_flow_runs")


def answer(status: int) -> httpx.HTTPStatusError:
    """What Prefect's client raises for an answer."""
    return httpx.HTTPStatusError(f"{status}", request=REQUEST, response=httpx.Response(status))


def test_a_server_that_is_away_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    """However often it does not answer; each outage is told once. What it refuses ends the loop."""
    came: list[Exception | None] = [httpx.ConnectError("refused")] * 5
    came += [None, answer(503), answer(503), answer(503), answer(503), None, answer(401)]

    async def look() -> None:
        if error := came.pop(0):
            raise error

    with pytest.raises(httpx.HTTPStatusError, match="401"):
        asyncio.run(critical_service_loop(PatientLook(look), interval=0))
    assert capsys.readouterr().out.splitlines() == [
        "Prefect's server does not answer, waiting: refused",
        "Prefect's server answers again",
        "Prefect's server does not answer, waiting: 503",
        "Prefect's server answers again",
    ]
