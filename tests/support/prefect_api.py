"""A Prefect server's API, asked as the tests need it."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx

DEADLINE_S = 300.0  # one run takes about 40 s on two cores
T = TypeVar("T")


class Api:
    """What one server answers, until it is closed."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=30)
        self.close = self._client.close

    def send(self, method: str, path: str, content: object = None) -> Any:
        """Ask until the server's database is free for it, for which Prefect's clients wait, too."""
        while (answer := self._client.request(method, path, json=content)).status_code == 503:
            time.sleep(0.1)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def post(self, path: str, **content: object) -> Any:
        """What the server answers to a request that it can't refuse."""
        return self.send("POST", path, content)

    def list_runs(self, deployment: str, *types: str) -> Any:
        """The runs of a deployment, by its short name, whose state is of one of these types."""
        wanted = {"state": {"type": {"any_": types}}}
        of = {"name": {"any_": [deployment]}}
        return self.post("/flow_runs/filter", flow_runs=wanted, deployments=of)

    def find_deployment(self, name: str) -> Any:
        """A deployment by its full name, as the server knows it."""
        return self.send("GET", f"/deployments/name/{name}")


def wait_until(ask: Callable[[], T], explain: Callable[[], str]) -> T:
    """What `ask` answers once it is neither None nor empty; fails with what `explain` says."""
    deadline = time.monotonic() + DEADLINE_S
    while not (answer := ask()):
        assert time.monotonic() < deadline, explain()
        time.sleep(0.2)
    return answer
