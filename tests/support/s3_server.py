"""A real S3 server on loopback, for the tests that need one."""

import json
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BUCKET = "tests"
SERVICES = ("master", "volume", "filer", "s3", "admin")
# SeaweedFS serves gRPC at the HTTP port + 10000; both ranges lie below Linux's ephemeral ports, so
# that no outgoing connection takes one between the probe and the server's own bind.
PORTS = range(12_000, 22_000)
GRPC_OFFSET = 10_000
READY_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class S3Server:
    """A running server: the environment that reaches it, and its one bucket."""

    env: dict[str, str]
    bucket: str
    process: subprocess.Popen[bytes]
    directory: Path

    @property
    def endpoint(self) -> str:
        return self.env["AWS_ENDPOINT_URL"]

    def stop(self) -> None:
        """End the server's one process and delete its data, which nobody reads again."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.directory)


def start_s3_server(
    attempts: int = 3, policies: Mapping[str, dict[str, object]] | None = None
) -> S3Server:
    """Start SeaweedFS on free loopback ports and wait until its bucket answers.

    A policy's name is the access key of who has its rights alone; the secret is the server's.
    Keys are random for each server, so a neighbour that won the same port is never mistaken for
    ours. Raises RuntimeError with the server's log if no attempt came up.
    """
    for _ in range(attempts):
        server = _launch(_free_ports(len(SERVICES)), policies or {})
        if _wait_ready(server):
            return server
        log = (server.directory / "server.log").read_text()
        server.stop()
    raise RuntimeError(f"SeaweedFS did not start in {attempts} attempts:\n{log}")


def _free_ports(count: int) -> list[int]:
    """Ports that are free together with their gRPC neighbours, bound until all are found."""
    found: list[int] = []
    with ExitStack() as held:
        for port in random.SystemRandom().sample(PORTS, len(PORTS)):
            if _bind(held, port) and _bind(held, port + GRPC_OFFSET):
                found.append(port)
            if len(found) == count:
                return found
    raise RuntimeError(f"no {count} free ports in {PORTS}")


def _bind(held: ExitStack, port: int) -> bool:
    probe = held.enter_context(socket.socket())
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def _launch(ports: list[int], policies: Mapping[str, dict[str, object]]) -> S3Server:
    weed = Path(sysconfig.get_path("scripts")) / "weed"
    directory = Path(tempfile.mkdtemp(prefix="s3-"))  # short: it holds Unix sockets
    port = dict(zip(SERVICES, ports, strict=True))
    command = [str(weed), "mini", f"-dir={directory}", f"-bucket={BUCKET}"]
    command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"]
    command += ["-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += ["-s3.autoCreateBucket=false"]  # as on AWS
    command += [f"-{name}.localSocket={directory / name}.sock" for name in ("s3", "filer")]
    for name, number in port.items():
        command += [f"-{name}.port={number}", f"-{name}.port.grpc={number + GRPC_OFFSET}"]
    env = _client_env(port["s3"])
    if policies:
        identities = directory / "identities.json"
        identities.write_text(_describe_identities(policies, env["AWS_SECRET_ACCESS_KEY"]))
        command.append(f"-s3.config={identities}")
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=env, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    return S3Server(env, BUCKET, process, directory)


def _describe_identities(policies: Mapping[str, dict[str, object]], secret: str) -> str:
    identities = [
        {
            "name": name,
            "credentials": [{"accessKey": name, "secretKey": secret}],
            "policyNames": [name],
        }
        for name in policies
    ]
    contents = [{"name": name, "content": json.dumps(policies[name])} for name in policies]
    return json.dumps({"identities": identities, "policies": contents})


def _client_env(port: int) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": secrets.token_hex(10),
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def _wait_ready(server: S3Server) -> bool:
    client = botocore.session.Session().create_client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=server.env["AWS_SECRET_ACCESS_KEY"],
        region_name=server.env["AWS_DEFAULT_REGION"],
        config=Config(connect_timeout=1, read_timeout=5, retries={"max_attempts": 0}, proxies={}),
    )
    deadline = time.monotonic() + READY_TIMEOUT_S
    try:
        while server.process.poll() is None and time.monotonic() < deadline:
            try:
                client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
            except (BotoCoreError, ClientError):
                time.sleep(0.05)
            else:
                return True
        return False
    finally:
        client.close()
