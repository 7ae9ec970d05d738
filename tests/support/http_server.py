"""A real HTTP server on loopback, of files in memory."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves `files` by path, and keeps what it was asked for in `asked`."""

    files: dict[str, bytes]
    asked: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _FileHandler(BaseHTTPRequestHandler):
    # A path that holds "cut" promises more bytes than come.
    server: FileServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = self.server.files.get(self.path)
        self.send_response(404 if body is None else 200)
        cut = b"cut" in self.path.encode()
        self.send_header("Content-Length", str(len(body or b"") + (9 if cut else 0)))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output quiet."""


@contextmanager
def served_files() -> Iterator[FileServer]:
    """A server that answers while the context lasts."""
    server = FileServer(("127.0.0.1", 0), _FileHandler)
    server.files, server.asked = {}, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
