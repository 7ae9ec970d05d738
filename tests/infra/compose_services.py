"""The compose stack as Compose resolves it, and its services on this machine without an engine."""

import json
import re
from pathlib import Path
from typing import Any

from tests.support.namespace import ADDRESS, VOLUMES
from tests.support.repository import INFRA, example_settings, run_tool

COMPOSE = INFRA / "compose.yaml"
HOME = "/home/vae"


def resolve_compose(folder: Path, without: str = "") -> tuple[int, str, str]:
    """`compose config` as JSON with dummy secrets but the one `without`: status, output, errors."""
    settings = {name: value or "0" * 32 for name, value in example_settings().items()}
    settings.pop(without, None)
    path = folder / "env"
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    arguments = ["--env-file", str(path), "--file", str(COMPOSE), "--profile", "gpu", "config"]
    result = run_tool("docker-compose", *arguments, "--format", "json")
    return result.returncode, result.stdout, result.stderr


def read_image_environment() -> dict[str, str]:
    """What the image sets, without PATH."""
    block = re.search(r"^ENV PATH.*?[^\\]$", (INFRA / "Dockerfile").read_text(), re.M | re.S)
    assert block
    return dict(re.findall(r"^ {4}(\w+)=([^ ]+)", block[0], re.MULTILINE))


def localize(services: dict[str, Any]) -> dict[str, Any]:
    """The services with hosts, volumes and the image's programs where they are on this machine.

    Prefect's server has a database of its own, SQLite.
    """
    text = json.dumps(services).replace("$$", "$")
    volumes = [volume for s in services.values() for volume in s.get("volumes", [])]
    places = {volume["target"]: f"{VOLUMES}/{volume['source']}" for volume in volumes}
    targets = "|".join(sorted(map(re.escape, places), key=len, reverse=True))
    text = re.sub(rf"(?<![\w/])(?:{targets})\b", lambda match: places[match[0]], text)
    hosts = "|".join(map(re.escape, services))
    text = re.sub(rf"\b(?:{hosts}):(?=\d)", f"{ADDRESS}:", text).replace(HOME, f"{VOLUMES}/home")
    found: dict[str, Any] = json.loads(text)
    del found["prefect-server"]["environment"]["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    found["seaweedfs"]["command"].insert(0, "weed")
    found["prefect-worker"]["command"] = ["bash", str(INFRA / "worker.sh")]
    return found
