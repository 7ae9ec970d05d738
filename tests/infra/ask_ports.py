"""Starts the compose stack and asks every port of it without a key. Run inside a namespace.

Reads the services from its input, writes a row a port: who listens, what was refused, what wasn't.
"""

import asyncio
import http.client
import json
import os
import re
import ssl
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from socket import create_connection
from typing import Any

import grpc
import websockets

from tests.infra.compose_services import read_image_environment
from tests.support.namespace import ADDRESS, VOLUMES

# What the stack's servers give to whoever may ask: metrics, files, runs, nodes, jobs. Not asked is
# what only says that it lives.
REQUESTS = [
    *(("GET", path) for path in ("/", "/metrics", "/dir/status", "/buckets/?limit=9", "/vae/x")),
    *(("PUT", path) for path in ("/vae/x", "/buckets/vae/x")),
    ("DELETE", "/vae/x"),
    *(("GET", path) for path in ("/api/admin/settings", "/api/version", "/api/v0/nodes", "/nodes")),
    *(("POST", path) for path in ("/api/jobs/", "/api/flow_runs/filter", "/api/block_types/")),
]
METHODS = [
    "ray.rpc.InternalKVGcsService/InternalKVKeys",
    "ray.rpc.NodeManagerService/GetNodeStats",
    "ray.rpc.ObjectManagerService/Pull",
    "ray.rpc.ReporterService/ReportOCMetrics",
    "ray.rpc.RayletDriver/ClusterInfo",
    "master_pb.Seaweed/Statistics",
    "filer_pb.SeaweedFiler/GetFilerConfiguration",
    "messaging_pb.SeaweedS3IamCache/PutIdentity",
]
TIMEOUT_S = 20.0
START_TIMEOUT_S = 240.0


def ask_http(port: int, method: str, path: str) -> str | None:
    """`refused`, `answered`, or None without HTTP or such a path, and from a page's frame."""
    connection = http.client.HTTPConnection(ADDRESS, port, timeout=TIMEOUT_S)
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    try:
        connection.request(method, path, "{}" if method != "GET" else None, headers)
        response = connection.getresponse()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if response.status in (401, 403):
        return "refused"
    page = response.headers.get_content_type() == "text/html"
    return "answered" if response.status < 300 and not page else None


def ask_grpc(port: int, method: str) -> str | None:
    """`refused`, `answered`, or None from what isn't gRPC or has no such method."""
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(f"{ADDRESS}:{port}", options) as channel:
        try:
            channel.unary_unary(f"/{method}")(b"", timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE):
                return None
            return "refused" if error.code() is grpc.StatusCode.UNAUTHENTICATED else "answered"
    return "answered"


def ask_tls(port: int) -> str | None:
    """`refused` if it wants a certificate, `answered` if it doesn't, None without TLS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with (
            create_connection((ADDRESS, port), TIMEOUT_S) as plain,
            context.wrap_socket(plain) as connection,
        ):
            return "answered" if connection.recv(1) else None
    except ssl.SSLError as error:
        return "refused" if "CERTIFICATE_REQUIRED" in str(error) else None
    except OSError:
        return None


async def ask_websocket(port: int) -> str | None:
    """`refused`, `answered`, or None without Prefect's events: it takes them after a login."""
    address = f"ws://{ADDRESS}:{port}/api/events/in"
    try:
        async with websockets.connect(address, subprotocols=["prefect"], proxy=None) as socket:  # type: ignore[list-item]
            await socket.send('{"type": "auth", "token": null}')
            await asyncio.wait_for(socket.recv(), TIMEOUT_S)
            return "answered"
    except websockets.ConnectionClosed:
        return "refused"
    except (OSError, websockets.WebSocketException, TimeoutError):
        return None


def ask(port: int) -> dict[str, list[str]]:
    """Everything that was refused by a port, and everything that was answered."""
    said = {f"{method} {path}": ask_http(port, method, path) for method, path in REQUESTS}
    said |= {method: ask_grpc(port, method) for method in METHODS}
    said |= {"TLS": ask_tls(port), "WebSocket": asyncio.run(ask_websocket(port))}
    return {kind: [k for k, v in said.items() if v == kind] for kind in ("refused", "answered")}


def list_listeners() -> dict[int, str]:
    """Every port that other hosts reach, and the program that listens there."""
    found = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    listeners = {}
    for line in found.splitlines():
        host, _, port = line.split()[3].rpartition(":")
        if "127.0.0." not in host and host != "[::1]":
            name = re.search(r'"(.*?)"', line)
            listeners[int(port)] = name[1] if name else "?"
    return listeners


class Stack:
    """The services of the compose file as processes of this namespace."""

    def __init__(self, services: dict[str, Any]) -> None:
        self.services = services

    def start(self, name: str) -> "subprocess.Popen[bytes]":
        """Start a service's command."""
        for volume in self.services[name].get("volumes", []):
            Path(volume["target"]).mkdir(exist_ok=True)
        command = self.services[name]["command"]
        log = Path(f"{VOLUMES}/{name}.log").open("wb")  # noqa: SIM115  # as long as the process
        return subprocess.Popen(command, env=self.build_environment(name), stdout=log, stderr=log)

    def complete(self, name: str) -> None:
        """Run a service that ends; raises RuntimeError with its log if it failed."""
        if self.start(name).wait(START_TIMEOUT_S):
            raise RuntimeError(f"{name}: {Path(f'{VOLUMES}/{name}.log').read_text()[-3000:]}")

    def await_health(self, name: str) -> None:
        """Ask as the compose file does, until it is well; raises RuntimeError with its log."""
        test, deadline = (
            self.services[name]["healthcheck"]["test"],
            time.monotonic() + START_TIMEOUT_S,
        )
        while subprocess.run(
            test[1:], env=self.build_environment(name), capture_output=True, check=False
        ).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name}: {Path(f'{VOLUMES}/{name}.log').read_text()[-3000:]}")
            time.sleep(0.5)

    def build_environment(self, name: str) -> dict[str, str]:
        """The image's and the service's own."""
        own = self.services[name].get("environment") or {}
        path = f"{sysconfig.get_path('scripts')}:{os.defpath}"
        base = {"PATH": path, "HOME": f"{VOLUMES}/home", **read_image_environment()}
        return base | {key: value for key, value in own.items() if value is not None}


def main() -> None:
    stack = Stack(json.load(sys.stdin))
    stack.complete("certificate")
    for name in ("seaweedfs", "prefect-server", "ray-head"):
        stack.start(name)
    for name in ("seaweedfs", "prefect-server", "ray-head"):
        stack.await_health(name)
    stack.complete("deploy")
    stack.start("prefect-worker")
    stack.await_health("prefect-worker")
    rows = {port: {"program": name, **ask(port)} for port, name in list_listeners().items()}
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
