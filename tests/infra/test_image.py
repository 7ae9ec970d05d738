"""The image is clean, holds what it copies, and matches the lock it installs."""

import re
import tomllib

import pytest
from packaging.specifiers import SpecifierSet
from pathspec import GitIgnoreSpec

from tests.support.repository import INFRA, ROOT, locked_version, run_tool

DOCKERFILE = (INFRA / "Dockerfile").read_text()
COPIED = [
    source
    for arguments in re.findall(r"^COPY (?!.*--from=)(?:--\S+ )*(.+)$", DOCKERFILE, re.MULTILINE)
    for source in arguments.split()[:-1]
]


def is_ignored(path: str) -> bool:
    """Whether .dockerignore leaves `path` out: Docker's rules are git's, but all from the root."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    anchored = (re.sub(r"^(!?)(?!#)", r"\1/", line) for line in lines if line)
    return GitIgnoreSpec.from_lines(anchored).match_file(path)


def test_dockerfile_has_no_finding() -> None:
    """hadolint finds nothing, and nothing is silenced."""
    assert "hadolint ignore" not in DOCKERFILE
    result = run_tool("hadolint", "--no-color", str(INFRA / "Dockerfile"))
    assert (result.returncode, result.stdout) == (0, "")


def test_uv_is_the_locked_one() -> None:
    """The uv that installs the image is the uv that the lock names."""
    assert re.findall(r"\buv==(\S+)", DOCKERFILE) == [locked_version("uv")]


def test_every_install_is_hashed_or_local() -> None:
    """Packages come from the lock with hashes; only the project itself is installed without."""
    installs = re.findall(r"uv pip install ([^\n]+)", DOCKERFILE)
    assert installs[1:] == ["--no-deps ."]
    assert installs[0].split()[:3] == ["--require-hashes", "--constraint", "requirements.lock"]


def test_every_stage_is_pinned_to_a_python_that_fits() -> None:
    """The base image names a patch release that requires-python allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stages = {words.split()[0] for words in re.findall(r"^FROM (.+)$", DOCKERFILE, re.MULTILINE)}
    [image] = stages - {"base"}
    match = re.fullmatch(r"python:(\d+\.\d+\.\d+)-slim-bookworm", image)
    assert match and match[1] in SpecifierSet(project["requires-python"])


def test_something_is_copied() -> None:
    """The list the next tests go through is the whole of what the package needs."""
    packages = {"vae", "tuning", "flows"}
    files = {"pyproject.toml", "prefect.yaml", "requirements.lock", "README.md", "LICENSE"}
    assert set(COPIED) == packages | files | {"infra/worker.sh"}


@pytest.mark.parametrize("path", sorted(set(COPIED)))
def test_copied_paths_exist_and_reach_the_builder(path: str) -> None:
    """Every path that is copied is in the repository and is not left out by .dockerignore."""
    assert (ROOT / path).exists()
    inside = f"{path}/module.py" if (ROOT / path).is_dir() else path
    assert not is_ignored(inside)


@pytest.mark.parametrize("path", [".git/config", ".venv/bin/python", "infra/.env", "store/x", "a"])
def test_everything_else_stays_out(path: str) -> None:
    """Secrets, caches and data never reach the builder."""
    assert is_ignored(path)


def test_bytecode_stays_out() -> None:
    """Bytecode of another interpreter is not copied, though its package is."""
    assert is_ignored("vae/store/__pycache__/s3.pyc")
    assert not is_ignored("vae/store/s3.py")


def test_image_runs_as_an_ordinary_numeric_user() -> None:
    """The last USER is numeric, so that runAsNonRoot can be checked, and is not root."""
    users = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert users == [("1000", "1000")]


@pytest.mark.parametrize(
    "setting",
    [
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV=0",
        "RAY_USAGE_STATS_ENABLED=0",
        "PREFECT_SERVER_EPHEMERAL_ENABLED=false",
        "DO_NOT_TRACK=1",
        "UV_COMPILE_BYTECODE=1",
    ],
)
def test_image_sets(setting: str) -> None:
    """The settings that keep Ray, Prefect and uv from surprises are in the image."""
    assert re.search(rf"^(?:ENV| {{3}}) {re.escape(setting)}(?: \\)?$", DOCKERFILE, re.MULTILINE)
