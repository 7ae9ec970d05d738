"""The manifests are valid in strict mode, custom resources too, and agree with the image."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from kubernetes_validate import latest_version, validate  # type: ignore[import-untyped]
from ray._private.ray_constants import DEFAULT_OBJECT_STORE_MEMORY_PROPORTION
from torchvision import datasets

from tests.support.repository import INFRA, ROOT, locked_version

K8S = INFRA / "k8s"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((K8S / "kustomization.yaml").read_text())
DOCUMENTS: dict[str, dict[str, Any]] = {
    name: yaml.safe_load((K8S / name).read_text()) for name in KUSTOMIZATION["resources"]
}
CLUSTER = DOCUMENTS["raycluster.yaml"]
SPEC = CLUSTER["spec"]

# The fields of ray.io/v1 in KubeRay 1.6, whose schema no validator carries.
CLUSTER_FIELDS = {
    *("authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "gcsFaultToleranceOptions"),
    *("headGroupSpec", "headServiceAnnotations", "managedBy", "rayVersion", "suspend"),
    *("upgradeStrategy", "workerGroupSpecs"),
}
GROUP_FIELDS = {"labels", "rayStartParams", "resources", "template"}
HEAD_FIELDS = GROUP_FIELDS | {"enableIngress", "headService", "serviceType"}
WORKER_FIELDS = GROUP_FIELDS | {
    *("groupName", "idleTimeoutSeconds", "maxReplicas", "minReplicas", "numOfHosts", "replicas"),
    *("scaleStrategy", "suspend"),
}
AUTOSCALER_FIELDS = {
    *("env", "envFrom", "idleTimeoutSeconds", "image", "imagePullPolicy", "resources"),
    *("securityContext", "upscalingMode", "version", "volumeMounts"),
}


def pods() -> dict[str, dict[str, Any]]:
    """Every pod template of the manifests, by a name for it."""
    groups = SPEC["workerGroupSpecs"]
    templates = {f"workers-{index}": group["template"] for index, group in enumerate(groups)}
    templates["head"] = SPEC["headGroupSpec"]["template"]
    templates["prefect-worker"] = DOCUMENTS["prefect-worker.yaml"]["spec"]["template"]
    return templates


def containers() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every container of every pod, init containers too, and the pod's spec."""
    for pod in pods().values():
        for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
            yield container, pod["spec"]


def test_every_manifest_is_applied() -> None:
    """No file lies beside the kustomization without being part of it."""
    assert {*DOCUMENTS, "kustomization.yaml"} == {path.name for path in K8S.iterdir()}


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name != "raycluster.yaml"])
def test_manifest_is_valid(name: str) -> None:
    """Every field of the built-in kinds is known and well typed."""
    validate(DOCUMENTS[name], latest_version(), strict=True)


@pytest.mark.parametrize("name", list(pods()))
def test_pod_is_valid(name: str) -> None:
    """Every pod template is a valid pod, those inside the custom resource too."""
    metadata = {"name": name, **pods()[name].get("metadata", {})}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pods()[name]["spec"]}
    validate(pod, latest_version(), strict=True)


def test_raycluster_has_known_fields_only() -> None:
    """A field that KubeRay does not know would be dropped in silence."""
    assert (CLUSTER["apiVersion"], CLUSTER["kind"]) == ("ray.io/v1", "RayCluster")
    assert set(CLUSTER) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(SPEC) <= CLUSTER_FIELDS
    assert set(SPEC["authOptions"]) <= {"enableK8sTokenAuth", "mode", "secretName"}
    assert set(SPEC["autoscalerOptions"]) <= AUTOSCALER_FIELDS
    assert set(SPEC["headGroupSpec"]) <= HEAD_FIELDS
    for group in SPEC["workerGroupSpecs"]:
        assert set(group) <= WORKER_FIELDS
        assert 0 < group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_ray_start_parameters_are_strings() -> None:
    """KubeRay refuses a number where `ray start` takes an option's text."""
    groups = [SPEC["headGroupSpec"], *SPEC["workerGroupSpecs"]]
    values = [value for group in groups for value in group["rayStartParams"].values()]
    assert values and all(isinstance(value, str) for value in values)


def test_ray_is_the_locked_one_and_closed() -> None:
    """The cluster runs the locked Ray, with token authentication."""
    assert SPEC["rayVersion"] == locked_version("ray")
    assert SPEC["authOptions"] == {"mode": "token"}


def test_driver_joins_this_cluster() -> None:
    """The worker's address and token are the ones KubeRay derives from the cluster's name."""
    name = CLUSTER["metadata"]["name"]
    [worker] = pods()["prefect-worker"]["spec"]["containers"]
    environment = {entry["name"]: entry for entry in worker["env"]}
    assert environment["RAY_ADDRESS"]["value"] == f"{name}-head-svc:6379"
    token = environment["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]
    assert token == {"name": name, "key": "auth_token"}


def test_one_image_of_this_version() -> None:
    """Every container runs the one image, tagged once, with the project's version."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    [image] = KUSTOMIZATION["images"]
    assert image["newTag"] == version
    assert {container["image"] for container, _ in containers()} == {image["name"]}


def test_containers_are_confined() -> None:
    """Every container has limits and fits the restricted profile that the namespace enforces."""
    for container, spec in containers():
        security = spec["securityContext"] | container["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])
    labels = DOCUMENTS["namespace.yaml"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert DOCUMENTS["namespace.yaml"]["metadata"]["name"] == KUSTOMIZATION["namespace"]


def test_no_secret_is_in_the_manifests() -> None:
    """No Secret object, and nothing named like a secret with a literal value."""
    assert "Secret" not in {document["kind"] for document in DOCUMENTS.values()}
    secret = re.compile(r"PASSWORD|TOKEN|SECRET|KEY")
    assert not [key for key in DOCUMENTS["config.yaml"]["data"] if secret.search(key)]
    for container, _ in containers():
        for entry in container.get("env", []):
            assert not secret.search(entry["name"]) or "secretKeyRef" in entry["valueFrom"]


def test_referenced_settings_exist() -> None:
    """The config map is in the manifests, and the README says how to make the secret."""
    readme = (INFRA / "README.md").read_text()
    sources = [source for container, _ in containers() for source in container.get("envFrom", [])]
    maps = {source["configMapRef"]["name"] for source in sources if "configMapRef" in source}
    secrets = {source["secretRef"]["name"] for source in sources if "secretRef" in source}
    assert maps == {DOCUMENTS["config.yaml"]["metadata"]["name"]}
    [name] = secrets
    assert f"create secret generic {name}" in readme


def test_network_is_closed_by_default() -> None:
    """One policy covers every pod, and lets in this namespace's pods alone."""
    spec = DOCUMENTS["networkpolicy.yaml"]["spec"]
    assert spec["podSelector"] == {}
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    assert spec["ingress"] == [{"from": [{"podSelector": {}}]}]


def test_the_network_lets_out_to_datasets() -> None:
    """The ports of every mirror are open to every address."""
    anywhere = [
        rule for rule in DOCUMENTS["networkpolicy.yaml"]["spec"]["egress"] if "to" not in rule
    ]
    is_open = {entry["port"] for rule in anywhere for entry in rule["ports"]}
    mirrors = [*datasets.MNIST.mirrors, *datasets.FashionMNIST.mirrors, datasets.CIFAR10.url]
    schemes = {urlsplit(mirror).scheme for mirror in mirrors}
    assert {{"http": 80, "https": 443}[scheme] for scheme in schemes} <= is_open


def test_rays_objects_fit_into_shared_memory() -> None:
    """/dev/shm of the Prefect worker, a Ray node that no operator made, holds what Ray takes."""
    pod = pods()["prefect-worker"]["spec"]
    [volume], [container] = pod["volumes"], pod["containers"]
    given, memory = volume["emptyDir"]["sizeLimit"], container["resources"]["limits"]["memory"]
    assert mebibytes(given) >= DEFAULT_OBJECT_STORE_MEMORY_PROPORTION * mebibytes(memory)


def mebibytes(quantity: str) -> int:
    """A Kubernetes quantity in Mi or Gi."""
    return int(quantity[:-2]) * {"Mi": 1, "Gi": 1024}[quantity[-2:]]
