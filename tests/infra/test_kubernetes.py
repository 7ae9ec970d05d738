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
    f"{document['kind']}/{document['metadata']['name']}": document
    for name in KUSTOMIZATION["resources"]
    for document in yaml.safe_load_all((K8S / name).read_text())
}
CLUSTER = DOCUMENTS["RayCluster/vae-ray"]
SPEC = CLUSTER["spec"]
CONFIG = DOCUMENTS["ConfigMap/vae-config"]["data"]
EGRESS = DOCUMENTS["NetworkPolicy/vae-closed"]["spec"]["egress"]
HOME = "/home/vae"  # of the image

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
    templates = {group["groupName"]: group["template"] for group in SPEC["workerGroupSpecs"]}
    templates["head"] = SPEC["headGroupSpec"]["template"]
    templates["prefect-worker"] = DOCUMENTS["Deployment/prefect-worker"]["spec"]["template"]
    return templates


def containers() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every container of every pod, init containers too, and the pod's spec."""
    for pod in pods().values():
        for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
            yield container, pod["spec"]


def test_every_manifest_is_applied() -> None:
    """No file lies beside the kustomization without being part of it."""
    applied = {*KUSTOMIZATION["resources"], "kustomization.yaml"}
    assert applied == {path.name for path in K8S.iterdir()}


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if DOCUMENTS[name] is not CLUSTER])
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
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


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
    labels = DOCUMENTS[f"Namespace/{KUSTOMIZATION['namespace']}"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_containers_write_into_volumes_alone() -> None:
    """Root file systems are read-only, and /tmp and HOME are volumes of the pod."""
    head = pods()["head"]["spec"]
    for container, spec in [*containers(), (SPEC["autoscalerOptions"], head)]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert {"/tmp", HOME} <= set(mounts)
        assert set(mounts.values()) <= {volume["name"] for volume in spec["volumes"]}


def test_no_secret_is_in_the_manifests() -> None:
    """No Secret object, and nothing named like a secret with a literal value."""
    assert "Secret" not in {document["kind"] for document in DOCUMENTS.values()}
    secret = re.compile(r"PASSWORD|TOKEN|SECRET|KEY")
    assert not [key for key in CONFIG if secret.search(key)]
    for container, _ in containers():
        for entry in container.get("env", []):
            assert not secret.search(entry["name"]) or "secretKeyRef" in entry["valueFrom"]


def test_referenced_settings_exist() -> None:
    """The config map is in the manifests, and the README says how to make each secret."""
    readme = (INFRA / "README.md").read_text()
    sources = [source for container, _ in containers() for source in container.get("envFrom", [])]
    maps = {source["configMapRef"]["name"] for source in sources if "configMapRef" in source}
    secrets = {source["secretRef"]["name"] for source in sources if "secretRef" in source}
    assert maps == {"vae-config"}
    assert set(re.findall(r"create secret generic (vae-\S+)", readme)) == secrets


def test_network_is_closed_by_default() -> None:
    """One policy covers every pod, and lets in this namespace's pods alone."""
    spec = DOCUMENTS["NetworkPolicy/vae-closed"]["spec"]
    assert spec["podSelector"] == {}
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    assert spec["ingress"] == [{"from": [{"podSelector": {}}]}]


def test_the_network_lets_out_to_datasets() -> None:
    """The ports of every mirror are open to every address."""
    is_open = {e["port"] for rule in EGRESS if "to" not in rule for e in rule["ports"]}
    mirrors = [*datasets.MNIST.mirrors, *datasets.FashionMNIST.mirrors, datasets.CIFAR10.url]
    schemes = {urlsplit(mirror).scheme for mirror in mirrors}
    assert {{"http": 80, "https": 443}[scheme] for scheme in schemes} <= is_open


def test_names_resolve_by_a_cache_on_the_node_too() -> None:
    """NodeLocal DNSCache has the node's address and this link-local one, never a pod's label."""
    [rule] = [rule for rule in EGRESS if {"protocol": "UDP", "port": 53} in rule.get("ports", [])]
    assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in rule["to"]


def test_nothing_serves_without_a_key() -> None:
    """What asks for none is off or on loopback, as in the compose stack, whose ports are tried."""
    compose = yaml.safe_load((INFRA / "compose.yaml").read_text())
    off = {
        name: value for name, value in compose["x-environment"].items() if "metric" in name.lower()
    }
    assert off and off.items() <= CONFIG.items()
    [worker] = pods()["prefect-worker"]["spec"]["containers"]
    assert {"name": "PREFECT_WORKER_WEBSERVER_HOST", "value": "127.0.0.1"} in worker["env"]
    assert "exec" in worker["livenessProbe"] and "ports" not in worker


def test_only_the_prefect_worker_has_prefects_key() -> None:
    """Whoever has it runs code beside every secret: no Ray node does."""
    with_key = [name for name, pod in pods().items() if "vae-prefect" in str(pod["spec"])]
    assert with_key == ["prefect-worker"]


def test_drains_leave_what_would_end_a_run() -> None:
    """The head, the Prefect worker and the last Ray worker; none selects by what no pod has."""
    budgets = [d["spec"] for d in DOCUMENTS.values() if d["kind"] == "PodDisruptionBudget"]
    selectors = [budget["selector"]["matchLabels"] for budget in budgets]
    ray = {"ray.io/cluster": CLUSTER["metadata"]["name"]}
    assert selectors == [
        ray | {"ray.io/node-type": "head"},
        ray | {"ray.io/node-type": "worker"},
        pods()["prefect-worker"]["metadata"]["labels"],
    ]
    assert {budget["minAvailable"] for budget in budgets} == {1}


def test_the_quota_holds_the_largest_cluster() -> None:
    """Every group at its most, the head with its autoscaler, and the Prefect worker."""
    hard = DOCUMENTS["ResourceQuota/vae-most"]["spec"]["hard"]
    counted = [(g["maxReplicas"], pods()[g["groupName"]]) for g in SPEC["workerGroupSpecs"]]
    counted += [(1, pods()["head"]), (1, pods()["prefect-worker"])]
    used = [(n, c["resources"]) for n, pod in counted for c in pod["spec"]["containers"]]
    used.append((1, SPEC["autoscalerOptions"]["resources"]))
    for kind, resource in (key.split(".", 1) for key in hard if "." in key):
        needed = sum(n * read_quantity(r[kind].get(resource, "0")) for n, r in used)
        assert 0 < needed <= read_quantity(hard[f"{kind}.{resource}"])
    assert sum(n for n, _ in counted) < int(hard["pods"])


def test_rays_objects_fit_into_shared_memory() -> None:
    """/dev/shm of the Prefect worker, a Ray node that no operator made, holds what Ray takes."""
    pod = pods()["prefect-worker"]["spec"]
    [volume] = [volume for volume in pod["volumes"] if volume["name"] == "shm"]
    [container] = pod["containers"]
    memory = read_quantity(container["resources"]["limits"]["memory"])
    given = read_quantity(volume["emptyDir"]["sizeLimit"])
    assert given >= DEFAULT_OBJECT_STORE_MEMORY_PROPORTION * memory


def read_quantity(text: str) -> float:
    """A Kubernetes quantity: bytes, cores or a count."""
    match = re.fullmatch(r"(\d+)(m|Mi|Gi)?", text)
    assert match
    return int(match[1]) * {None: 1, "m": 0.001, "Mi": 2**20, "Gi": 2**30}[match[2]]
