"""A proxy that spoils requests the way networks and busy servers do, and refuses as policies do."""

import http.client
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

STATUS = {"ExpiredToken": 400, "NoSuchBucket": 404, "SlowDown": 503, "XMinioStorageFull": 507}


class FaultyProxy(ThreadingHTTPServer):
    """Stands before a real S3 server and spoils the next PUT and GET requests, one fault each.

    "lost": the server does it, the answer never arrives. "busy": 409, the server never hears of it.
    "cut": the connection breaks in the middle of the answer's body. Whatever `refuse` has a code of
    S3 for, by method, key (empty: of the bucket) and query, is refused with that. While `network`
    is not "", it befalls every request: "lost" as above, "reset" before it is heard, "hangs".
    """

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.upstream = urlsplit(endpoint).netloc
        self.faults: list[str] = []
        self.refuse: Callable[[str, str, str], str] = lambda method, key, query: ""
        self.network = ""
        self.asked: list[str] = []  # methods and paths
        self.endpoint = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up, or is killed, is no error of the proxy's."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def next_fault(self) -> str:
        return self.faults.pop(0) if self.faults else ""


class _Relay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # answers "100 Continue", for which the client waits
    server: FaultyProxy

    def parse_request(self) -> bool:
        """Refuse before anything else is looked at: also what a bucket or a key does not have."""
        if not super().parse_request():
            return False
        self.server.asked.append(f"{self.command} {self.path}")
        path = urlsplit(self.path)
        key = unquote(path.path).lstrip("/").partition("/")[2]
        code = self.server.refuse(self.command, key, unquote(path.query))
        if code:
            self._read_body()
            body = f"<Error><Code>{code}</Code><Message>told by a test</Message></Error>"
            self._answer(STATUS.get(code, 403), [], body.encode())
        return not code

    def do_GET(self) -> None:
        self._pass_on(self.server.next_fault())

    def do_HEAD(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def do_DELETE(self) -> None:
        self._pass_on()

    def do_PUT(self) -> None:
        fault = self.server.next_fault()
        if fault == "busy":
            self._read_body()
            self._answer(409, [], b"<Error><Code>ConditionalRequestConflict</Code></Error>")
        else:
            self._pass_on(fault)

    def _pass_on(self, fault: str = "") -> None:
        network = self.server.network
        if network in ("reset", "hangs"):
            while self.server.network == "hangs":
                time.sleep(0.1)
            self.close_connection = True
        else:
            self._relay(fault or network)

    def _relay(self, fault: str = "") -> None:
        body = self._read_body()
        headers = {k: v for k, v in self.headers.items() if k.lower() != "transfer-encoding"}
        headers |= {"Content-Length": str(len(body))} if body else {}
        upstream = http.client.HTTPConnection(self.server.upstream)
        upstream.request(self.command, self.path, body, headers)
        response = upstream.getresponse()
        data = response.read()
        upstream.close()
        if fault != "lost":
            self._answer(response.status, response.getheaders(), data, cut=fault == "cut")
        self.close_connection = bool(fault)

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(
        self, status: int, headers: list[tuple[str, str]], data: bytes, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)

    def log_message(self, format: str, *args: object) -> None:
        pass
