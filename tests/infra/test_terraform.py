"""The bucket is private, versioned and tidied, and its policy is what the store needs: no more."""

import copy
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hcl2
import pytest
import s3fs
from pyarrow.fs import FileSystem

from tests.support.repository import INFRA, ROOT
from tests.support.s3_server import BUCKET, S3Server, start_s3_server
from vae.errors import RefusedError, UserError
from vae.store.open import open_store

TERRAFORM = INFRA / "terraform"
TEXT = "".join(path.read_text() for path in sorted(TERRAFORM.glob("*.tf")))
TEMPLATE = (TERRAFORM / "policy.json.tftpl").read_text()
POLICY = json.loads(TEMPLATE.replace("${bucket}", BUCKET).replace("${prefix}", "store"))
ACTIONS = [
    action
    for statement in POLICY["Statement"]
    for action in (
        [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
    )
]
# SeaweedFS lets whoever may write look at an upload and give it up; AWS asks for the rights to.
UNJUDGED = {"s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"}
JUDGED = [action for action in ACTIONS if action not in UNJUDGED]
URI = f"s3://{BUCKET}/store"


def strip(tree: Any) -> Any:
    """What the parser found, without its quotes and marks."""
    if isinstance(tree, dict):
        return {k.strip('"'): strip(v) for k, v in tree.items() if k != "__is_block__"}
    if isinstance(tree, list):
        return [strip(item) for item in tree]
    return tree.strip('"') if isinstance(tree, str) else tree


def list_blocks(kind: str) -> dict[str, Any]:
    """Every block of a kind by its labels, such as `aws_s3_bucket.store`."""
    blocks: dict[str, Any] = {}
    for block in strip(hcl2.loads(TEXT))[kind]:
        for first, inner in block.items():
            if kind == "resource":
                blocks |= {f"{first}.{second}": body for second, body in inner.items()}
            else:
                blocks[first] = inner
    return blocks


RESOURCES = list_blocks("resource")


@pytest.mark.skipif(not shutil.which("terraform"), reason="terraform is not installed")
def test_the_files_are_formatted() -> None:
    """`terraform fmt` would change nothing. `validate` needs the provider, and so a network."""
    command = ["terraform", "fmt", "-check", "-diff", str(TERRAFORM)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_every_name_is_declared_and_described() -> None:
    """What is referred to exists, nothing is left over, and each way in and out says what it is."""
    variables, outputs = list_blocks("variable"), list_blocks("output")
    assert set(re.findall(r"\bvar\.(\w+)", TEXT)) == set(variables)
    assert set(re.findall(r"\baws_\w+\.\w+(?=\.)", TEXT)) <= set(RESOURCES)
    assert all(block["description"] for block in [*variables.values(), *outputs.values()])


def test_the_bucket_is_closed_and_kept() -> None:
    """Public access blocked four times, encrypted, versioned, and never destroyed by a plan."""
    assert RESOURCES["aws_s3_bucket.store"]["lifecycle"] == [{"prevent_destroy": True}]
    block = RESOURCES["aws_s3_bucket_public_access_block.store"]
    assert [value for key, value in block.items() if key != "bucket"] == [True] * 4
    versioning = RESOURCES["aws_s3_bucket_versioning.store"]["versioning_configuration"]
    assert versioning == [{"status": "Enabled"}]
    assert "aws_s3_bucket_server_side_encryption_configuration.store" in RESOURCES


def test_nothing_grows_for_ever() -> None:
    """Uploads that nobody completes go, and so does what was replaced, in the whole bucket."""
    rules = RESOURCES["aws_s3_bucket_lifecycle_configuration.store"]["rule"]
    assert all((rule["status"], rule["filter"]) == ("Enabled", [{}]) for rule in rules)
    aborting = [rule["abort_incomplete_multipart_upload"] for rule in rules[:1]]
    assert aborting == [[{"days_after_initiation": 1}]]
    assert rules[1]["noncurrent_version_expiration"][0]["noncurrent_days"]


def test_operations_show_the_policy() -> None:
    """The page for those without Terraform has the same policy, with its placeholders."""
    page = (ROOT / "docs/operations.md").read_text()
    shown = TEMPLATE.replace("${bucket}", "BUCKET").replace("${prefix}", "PREFIX")
    assert json.loads(shown) in [
        json.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.S)
    ]


def without(action: str) -> dict[str, object]:
    """The policy less one of its actions."""
    policy: dict[str, Any] = copy.deepcopy(POLICY)
    for statement in policy["Statement"]:
        given = statement["Action"]
        statement["Action"] = [
            a for a in ([given] if isinstance(given, str) else given) if a != action
        ]
    policy["Statement"] = [statement for statement in policy["Statement"] if statement["Action"]]
    return policy


def name_key(action: str) -> str:
    """The access key of who has everything but this."""
    return "no" + action.removeprefix("s3:")


@pytest.fixture(scope="module")
def policy_server() -> Iterator[S3Server]:
    """An S3 server with a user who has the policy, and others who have all of it but one action."""
    lessened = {name_key(action): without(action) for action in ACTIONS}
    server = start_s3_server(policies={"all": POLICY, **lessened})
    yield server
    server.stop()


@pytest.fixture
def become(policy_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Take a user's place by its access key."""

    def take(key: str) -> None:
        for name, value in (policy_server.env | {"AWS_ACCESS_KEY_ID": key}).items():
            monkeypatch.setenv(name, value)

    return take


def split_key(uri: str) -> dict[str, str]:
    """The bucket and the key of a URI, as S3's calls name them."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


def use_store(uri: str, folder: Path) -> None:
    """Whatever a run does with its store; raises OSError or UserError if any of it is refused.

    Ray's own storage makes every folder above its own, writes in parts, and may give up.
    """
    store = open_store(uri)
    store.check_writable()
    assert not store.exists("runs/a")
    store.create("runs/a", b"1")
    data, token = store.read_token("runs/a")
    store.replace("runs/a", data + b"2", token)
    store.put("runs/b", b"3")
    store.download("runs/a", folder / "a")
    assert (folder / "a").read_bytes() == b"12"
    assert store.list() == ["runs/a", "runs/b"]
    files, part = s3fs.S3FileSystem(skip_instance_cache=True), split_key(f"{uri}/part")
    begun = files.call_s3("create_multipart_upload", **part)["UploadId"]
    files.call_s3("list_multipart_uploads", Bucket=BUCKET, Prefix=part["Key"])
    files.call_s3("list_parts", **part, UploadId=begun)
    files.call_s3("abort_multipart_upload", **part, UploadId=begun)
    ray, folder_of_ray = FileSystem.from_uri(f"{uri}/ray/fit")
    ray.create_dir(folder_of_ray)
    ray.open_output_stream(f"{folder_of_ray}/c").close()
    ray.delete_dir(folder_of_ray)
    store.delete("runs")


@pytest.mark.slow
def test_the_policy_is_enough(become: Callable[[str], None], tmp_path: Path) -> None:
    """A real server that evaluates the policy lets the store do all that it does."""
    become("all")
    use_store(f"{URI}/all", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("action", JUDGED)
def test_the_policy_is_the_least(
    action: str, become: Callable[[str], None], tmp_path: Path
) -> None:
    """Without any one of these actions the store fails."""
    become(name_key(action))
    with pytest.raises((PermissionError, UserError), match=r"Access ?Denied|Forbidden"):
        use_store(f"{URI}/{name_key(action)}", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["", "store2", "other"])
def test_the_policy_ends_at_the_prefix(
    place: str, become: Callable[[str], None], tmp_path: Path
) -> None:
    """Beside the prefix and above it nothing is written."""
    become("all")
    with pytest.raises(RefusedError, match="refuses to write"):
        open_store(f"s3://{BUCKET}/{place}").put("x", b"1")
