"""A small server of W&B's protocol: what wandb needs to track online, kept to be looked at.

GraphQL that makes and finds runs, files and artifacts, the stream of history, and uploads; views
and reports are in `tests.support.wandb_views`.
"""

import gzip
import json
import re
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.wandb_artifacts import ArtifactAnswers
from tests.support.wandb_views import ENTITY, Json, Views

KEY = "0123456789" * 4  # of a form that wandb takes for a key
OPERATION = re.compile(r"(query|mutation)\s+(\w+)")
STREAM = re.compile(r"/files/[^/]+/[^/]+/(?P<run>[^/]+)/file_stream")


@dataclass
class OnlineRun:
    """What the server knows of one run."""

    upserts: list[Json] = field(default_factory=list)  # each as it was asked for
    lines: dict[str, dict[int, Json]] = field(default_factory=lambda: defaultdict(dict))
    exit_code: int | None = None

    @property
    def history(self) -> list[Json]:
        """The rows of the curves, in order."""
        return [line for _, line in sorted(self.lines["wandb-history.jsonl"].items())]

    @property
    def summary(self) -> Json:
        """The last summary that was sent."""
        return (self.lines["wandb-summary.json"] or {0: {}})[0]

    @property
    def config(self) -> Json:
        """The settings as W&B's pages show them."""
        sent = next(each["config"] for each in reversed(self.upserts) if each.get("config"))
        return {key: each["value"] for key, each in json.loads(sent).items() if key != "_wandb"}

    def last(self, name: str) -> Any:
        """A field of the run, as it was last sent."""
        return next((each[name] for each in reversed(self.upserts) if each.get(name)), None)


class WandbServer(ArtifactAnswers, Views, ThreadingHTTPServer):
    """Keeps `runs` by id, `uploads` by path, `artifacts` and `alerts` as they were asked for.

    `delay_s`: how long it thinks before every answer.
    """

    daemon_threads = True
    runs: dict[str, OnlineRun]
    uploads: dict[str, bytes]
    artifacts: list[Json]
    alerts: list[Json]
    asked: list[tuple[str, Json]]
    delay_s: float = 0.0
    errors: Json  # added to every answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error of the server's."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def answer(self, operation: str, given: Json) -> Json:
        """What GraphQL says."""
        self.asked.append((operation, given))
        reply = getattr(self, f"answer_{operation}", None)
        found: Json = reply(given) if reply else {}
        return found

    def answer_Viewer(self, given: Json) -> Json:
        who = {"id": "1", "entity": ENTITY, "username": "someone", "email": "", "flags": "{}"}
        return {"viewer": who | {"teams": {"edges": [{"node": {"name": ENTITY}}]}}}

    def answer_ServerFeaturesQuery(self, given: Json) -> Json:
        return {"serverInfo": {"features": []}}

    def answer_RunResumeStatus(self, given: Json) -> Json:
        project = {"id": "p", "name": given["project"], "entity": {"id": "e", "name": ENTITY}}
        run = self.runs.get(given["name"])
        if run is None:
            return {"model": project | {"bucket": None}}
        config = json.dumps({key: {"value": value} for key, value in run.config.items()})
        tail = json.dumps([json.dumps(row) for row in run.history[-1:]])
        bucket = {
            "id": given["name"],
            "name": given["name"],
            "displayName": run.last("displayName"),
            "summaryMetrics": json.dumps(run.summary),
            "config": config,
            "wandbConfig": json.dumps({"t": 1}),
            "tags": run.last("tags"),
            "historyLineCount": len(run.history),
            "historyTail": tail,
            "eventsLineCount": len(run.lines["wandb-events.jsonl"]),
            "eventsTail": "[]",
            "logLineCount": len(run.lines["output.log"]),
        }
        return {"model": project | {"bucket": bucket}}

    def answer_UpsertBucket(self, given: Json) -> Json:
        run_id = given.get("name") or given["id"]
        inserted = run_id not in self.runs
        run = self.runs.setdefault(run_id, OnlineRun())
        run.upserts.append(given)
        bucket = {
            "id": run_id,
            "name": run_id,
            "displayName": run.last("displayName"),
            "description": "",
            "config": "{}",
            "sweepName": None,
            "historyLineCount": len(run.history),
            "project": {
                "id": "p",
                "name": given.get("project") or run.last("project"),
                "entity": {"id": "e", "name": ENTITY},
            },
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def answer_CreateRunFiles(self, given: Json) -> Json:
        files = [
            {"name": name, "uploadUrl": f"{self.url}/uploads/{given['run']}/{name}"}
            for name in given["files"]
        ]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}

    def answer_ArtifactType(self, given: Json) -> Json:
        return {"project": None}  # there is none of that name yet

    def answer_CreateArtifact(self, given: Json) -> Json:
        self.artifacts.append(given["input"])
        artifact = {"id": f"artifact-{len(self.artifacts)}", "state": "PENDING"}
        sequence = {"id": "s", "latestArtifact": None}
        return {"createArtifact": {"artifact": artifact | {"artifactSequence": sequence}}}

    def answer_CreateArtifactManifest(self, given: Json) -> Json:
        place = f"{self.url}/uploads/{given['artifactID']}/{given['name']}"
        file = {"id": "f", "name": given["name"], "displayName": given["name"]}
        upload = {"uploadUrl": place, "uploadHeaders": []} if given["includeUpload"] else {}
        manifest = {"id": given["artifactID"], "file": file | upload}
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def answer_UpdateArtifactManifest(self, given: Json) -> Json:
        place = f"{self.url}/uploads/{given['artifactManifestID']}/wandb_manifest.json"
        file = {"id": "f", "name": "m", "displayName": "m"}
        upload = {"uploadUrl": place, "uploadHeaders": []}
        manifest = {"id": given["artifactManifestID"], "file": file | upload}
        return {"updateArtifactManifest": {"artifactManifest": manifest}}

    def answer_CommitArtifact(self, given: Json) -> Json:
        return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": "d"}}}

    def answer_UseArtifact(self, given: Json) -> Json:
        return {"useArtifact": {"artifact": {"id": given["input"]["artifactID"], "digest": "d"}}}

    def answer_NotifyScriptableRunAlert(self, given: Json) -> Json:
        self.alerts.append(given)
        return {"notifyScriptableRunAlert": {"success": True}}

    def stream(self, run_id: str, sent: Json) -> None:
        """Keep lines of a run's files, each at its place."""
        run = self.runs.setdefault(run_id, OnlineRun())
        for name, part in (sent.get("files") or {}).items():
            for number, line in enumerate(part["content"], part["offset"]):
                run.lines[name][number] = (
                    {"text": line} if name == "output.log" else json.loads(line)
                )
        if sent.get("complete"):
            run.exit_code = sent.get("exitcode")


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.read()
        time.sleep(self.server.delay_s)
        if self.path == "/graphql":
            given = json.loads(body)
            name = OPERATION.search(given["query"])
            assert name, given["query"]
            answer = self.server.answer(name[2], given.get("variables") or {})
            self.reply({"data": answer} | self.server.errors)
        elif found := STREAM.fullmatch(self.path):
            self.server.stream(found["run"], json.loads(body))
            self.reply({})
        else:
            self.reply({})  # what wandb tells of itself

    def do_PUT(self) -> None:
        self.server.uploads[self.path.removeprefix("/uploads/")] = self.read()
        self.reply({})

    def read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def reply(self, answer: Json) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output quiet."""


@contextmanager
def serve_wandb() -> Iterator[WandbServer]:
    """A server that answers while the context lasts, or until it is shut down."""
    server = WandbServer(("127.0.0.1", 0), _Handler)
    server.runs, server.uploads, server.artifacts = {}, {}, []
    server.alerts, server.asked, server.views, server.errors = [], [], {}, {}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
