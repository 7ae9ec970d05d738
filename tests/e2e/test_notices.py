"""Notices, as a webhook receives them; and that they never cost a run anything."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prefect import State, flow
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Failed, Running

from flows.notices import notify_end, notify_first_end, notify_promoted, send_notice
from flows.pipeline import pipeline
from flows.stages import Stage
from flows.tasks import make_task
from flows.watch import watch
from tests.support.prefect_server import PrefectServer

# One of the many services that Apprise loads imports it.
pytestmark = pytest.mark.filterwarnings("ignore:.imghdr. is deprecated:DeprecationWarning")
SECRET = "token-that-nobody-may-read"


class Hook(ThreadingHTTPServer):
    """A webhook that keeps what it was sent."""

    received: list[dict[str, str]]


class Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(json.loads(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output quiet."""


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    """A webhook that VAE_NOTIFY names, behind a secret path."""
    server = Hook(("127.0.0.1", 0), Handler)
    server.received = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("VAE_NOTIFY", f"json://127.0.0.1:{server.server_port}/{SECRET}")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_failed_run_says_why_and_how_to_go_on(
    hook: Hook, prefect_server: PrefectServer, caplog: pytest.LogCaptureFixture
) -> None:
    """One message: which run, the reason in one line, the command, and where to look."""
    with temporary_settings({PREFECT_API_URL: prefect_server.url}):
        state = pipeline(experiment="none", run_id="first", store="s3://pets/p", return_state=True)
    assert state.is_failed()
    [notice] = hook.received
    assert notice["title"].startswith("pipeline failed: ")
    reason, retry, command, *_ = notice["message"].splitlines()
    assert "unknown experiment 'none'" in reason
    assert retry == f"continue: prefect flow-run retry {state.state_details.flow_run_id}"
    assert command == "or: vae run --run-id first --store s3://pets/p"
    assert SECRET not in caplog.text + str(state)


@flow(on_failure=[notify_end])
def take_too_long(run_id: str, store: str) -> None:
    """Run a stage for longer than it may, under the hook of the pipeline."""
    make_task(Stage("slow", "", "", timeout_s=0.5), lambda: time.sleep(2))()


def test_a_run_that_is_out_of_time_says_so(hook: Hook, prefect_server: PrefectServer) -> None:
    """The limit of a stage ends the run, and the notice names it and the command that continues."""
    with temporary_settings({PREFECT_API_URL: prefect_server.url}):
        take_too_long(run_id="first", store="s3://b/p", return_state=True)
    [notice] = hook.received
    assert notice["title"].startswith("take-too-long timedout: ")
    assert "0.5 second" in notice["message"].splitlines()[0]
    assert "vae run --run-id first --store s3://b/p" in notice["message"]


def test_what_fails_every_few_minutes_is_told_once(
    hook: Hook, prefect_server: PrefectServer
) -> None:
    """A flow that watches: the first failure in a row is a notice, each after it is none."""
    ends: list[State] = [Failed(), Failed(), Completed(), Failed()]
    with (
        temporary_settings({PREFECT_API_URL: prefect_server.url}),
        get_client(sync_client=True) as client,
    ):
        deployment = client.create_deployment(client.create_flow(watch), "notices")
        for end in ends:
            run = client.create_flow_run_from_deployment(deployment)
            client.set_flow_run_state(run.id, Running(), force=True)
            client.set_flow_run_state(run.id, end, force=True)
            if end.is_failed():
                notify_first_end(watch, client.read_flow_run(run.id), end)
    assert len(hook.received) == 2
    assert all(notice["title"].startswith("watch failed: ") for notice in hook.received)


def test_a_promotion_is_told(hook: Hook) -> None:
    """With where its report is."""
    notify_promoted("published m@v1, best so far", "s3://b/models/m/versions/v1")
    [notice] = hook.received
    assert notice["title"] == "published m@v1, best so far"
    assert "s3://b/models/m/versions/v1/report.html" in notice["message"]


def test_what_can_not_be_sent_is_a_warning_without_secrets(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a wrong URL nor a service that is away raises, or tells its URL."""
    monkeypatch.setenv("VAE_NOTIFY", f"nonsense {SECRET}://x json://127.0.0.1:9/{SECRET}")
    with caplog.at_level(logging.DEBUG):
        send_notice("title", "body")
    told = [record.getMessage() for record in caplog.records if record.name == "vae.notices"]
    assert told == [
        "VAE_NOTIFY: URL 1 of 3 is no Apprise URL",
        "VAE_NOTIFY: URL 2 of 3 is no Apprise URL",
        "VAE_NOTIFY: the notice was not taken by URL 3 of 3",
    ]
    assert SECRET not in "".join(record.getMessage() for record in caplog.records)
