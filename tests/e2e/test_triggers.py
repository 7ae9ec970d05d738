"""New data and promotions as events, what a run leaves in Prefect, and what it never does."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.e2e.test_deployment import SCRIPTS, command, stop, until
from tests.support.prefect_api import Api
from tests.support.prefect_server import PrefectServer
from tests.support.versions import publish_version, write_version
from vae.store.open import open_store

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "marked-aws-secret",
    "AWS_SESSION_TOKEN": "marked-aws-token",
    "WANDB_API_KEY": "marked-wandb-key",
    "VAE_NOTIFY": "json://127.0.0.1:9/marked-notify-path",
}
SETTINGS = {
    "data.validation": 10,
    "data.binarize": "none",
    "search.trials": 1,
    "search.epochs": 1,
    "train.epochs": 30,
    "train.batch_size": 10,
}

MODEL = "vae.model.tiny-shapes"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of images, dark and bright."""
    folder = tmp_path / "shapes"
    folder.mkdir()
    for number in range(60):
        draw_image(folder, number)
    return folder


@pytest.fixture
def environment(prefect_server: PrefectServer, tmp_path: Path) -> dict[str, str]:
    """What reaches the server, with a secret wherever one is expected."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    places = {"VAE_STORE": str(tmp_path / "store"), "WANDB_DIR": str(tmp_path)}
    mode = {"WANDB_MODE": "offline", "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    return inherited | places | mode | SECRETS | prefect_server.env


@pytest.fixture
def api(prefect_server: PrefectServer) -> Iterator[Api]:
    """What the server is asked through."""
    with closing(Api(prefect_server.url)) as client:
        yield client


@pytest.fixture
def served(
    images: Path, environment: dict[str, str], tmp_path: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """`vae serve` with a watch on the folder, and a pipeline that its event triggers."""
    watch = {
        "name": "shapes",
        "entrypoint": "flows.watch.watch",
        "parameters": {"data": str(images)},
    }
    pipeline = {
        "name": "shapes",
        "entrypoint": "flows.pipeline.pipeline",
        "parameters": {"experiment": "tiny", "workers": "1", "skip_unchanged": True},
        "triggers": [
            {
                "match": {"prefect.resource.id": "vae.data.shapes"},
                "expect": ["vae.data.changed"],
                "parameters": {
                    "overrides": SETTINGS | {"data.name": "{{ event.payload.location }}"}
                },
            }
        ],
    }
    file = tmp_path / "prefect.yaml"
    file.write_text(yaml.safe_dump({"deployments": [watch, pipeline]}))
    with (tmp_path / "serve.log").open("wb") as log:
        serve = [str(SCRIPTS / "vae"), "serve", "--file", str(file)]
        process = subprocess.Popen(serve, env=environment, cwd=tmp_path, stdout=log, stderr=log)
    until(process, tmp_path, lambda: "serving pipeline/shapes" in read_log(tmp_path))
    yield process
    stop(process)


def test_new_images_are_trained_on_and_what_came_of_it_is_told(
    api: Api,
    served: "subprocess.Popen[bytes]",
    environment: dict[str, str],
    images: Path,
    tmp_path: Path,
    prefect_server: PrefectServer,
) -> None:
    """Folder, watch, event, run, promotion, event; and one more image is another run."""
    command(environment, "prefect", "deployment", "run", "watch/shapes")
    first = until(served, tmp_path, lambda: find_completed(api))
    [promoted] = until(served, tmp_path, lambda: find_events(api, "vae.model.promoted", MODEL))
    check_told(api, first, promoted)
    move_by_hand(environment, tmp_path, promoted["payload"]["version"])
    until(served, tmp_path, lambda: len(find_events(api, "vae.model.promoted", MODEL)) == 3)
    payloads = [one["payload"] for one in find_events(api, "vae.model.promoted", MODEL)]
    [by_hand] = [payload for payload in payloads if payload["version"] == "by-hand"]
    assert by_hand.keys() == promoted["payload"].keys()
    old = promoted["payload"]
    assert by_hand["previous"] == {"version": old["version"], "value": old["value"]}
    [deleted] = until(served, tmp_path, lambda: find_events(api, "vae.model.deleted", MODEL))
    assert deleted["payload"]["version"] == "by-hand"

    command(environment, "prefect", "deployment", "run", "watch/shapes")
    until(served, tmp_path, lambda: "nothing new: 60 files" in str(find_messages(api, "watch")))
    assert len(find_events(api, "vae.data.changed")) == 1
    draw_image(images, 60)
    command(environment, "prefect", "deployment", "run", "watch/shapes")
    until(served, tmp_path, lambda: len(find_runs(api)) == 2)
    stop(served)
    check_no_secret(prefect_server.directory, tmp_path)


def move_by_hand(environment: dict[str, str], tmp_path: Path, best: str) -> None:
    """Another version is made the best, then no more, then is deleted; Prefect is told of each."""
    store = open_store(environment["VAE_STORE"])
    folder = write_version(tmp_path / "by-hand", 1000.0)
    publish_version(store, "by-hand", folder, name="tiny-shapes")
    unmoved = "W&B's alias best was not moved: W&B is offline (WANDB_MODE)"
    for now, given in (
        ("by-hand", ["promote", "tiny-shapes@by-hand"]),
        (best, ["rollback", "tiny-shapes"]),
    ):
        said = command(environment, "vae", *given).splitlines()
        assert said[0].startswith(f"the best of tiny-shapes is {now}, ")
        assert said[1:] == [f"Prefect was told: vae.model.promoted of {MODEL}", unmoved]
    said = command(environment, "vae", "delete", "tiny-shapes@by-hand").splitlines()
    assert said[1] == f"Prefect was told: vae.model.deleted of {MODEL}"


def check_told(api: Api, run: dict[str, Any], promoted: dict[str, Any]) -> None:
    """The run says in state, log, artifacts and event what it published."""
    version = promoted["payload"]["version"]
    assert promoted["resource"]["prefect.resource.id"] == MODEL
    assert promoted["payload"]["previous"] == {"version": None, "value": None}
    assert f"published tiny-shapes@{version}, the first" in run["state"]["message"]
    of_run = {"flow_run_id": {"any_": [run["id"]]}}
    messages = [log["message"] for log in api.post("/logs/filter", logs=of_run)]
    assert any(f"published tiny-shapes@{version}" in message for message in messages)
    artifacts = {a["key"]: a for a in api.post("/artifacts/filter", artifacts=of_run)}
    stages = ["data", "search", "train", "evaluate", "publish"]
    bars = [artifacts[f"progress-{stage}-tiny-shapes"] for stage in stages]
    assert [bar["data"] for bar in bars] == [100.0] * 5
    assert "| trial |" in artifacts["search-tiny-shapes"]["data"]
    assert "| test/nelbo |" in artifacts["model-tiny-shapes"]["data"]
    assert f"{promoted['payload']['uri']}/report.html" in artifacts["model-tiny-shapes"]["data"]


def check_no_secret(database: Path, directory: Path) -> None:
    """No byte that the server, the store, W&B or the service has written holds a marked secret."""
    kept = b"".join(file.read_bytes() for file in database.glob("prefect.db*"))
    assert b"published tiny-shapes@" in kept, "what is looked through holds what runs have said"
    written = b"".join(file.read_bytes() for file in directory.rglob("*") if file.is_file())
    assert b"run_id" in written
    for name, secret in SECRETS.items():
        marked = secret.rpartition("/")[2].encode()
        assert marked not in kept, name
        assert marked not in written, name


def draw_image(folder: Path, number: int) -> None:
    """A dark or a bright image, which one latent tells, each another: a model of them learns."""
    pixels = np.full((8, 8), 200 if number % 2 else 40, np.uint8)
    pixels[0, 0] = number
    Image.fromarray(pixels).save(folder / f"{number}.png")


def read_log(directory: Path) -> str:
    """What the service has printed."""
    return (directory / "serve.log").read_text(errors="replace")


def find_runs(api: Api) -> list[dict[str, Any]]:
    """The pipeline's runs that the event has made; one that failed is an error."""
    runs = api.post("/flow_runs/filter", flows={"name": {"any_": ["pipeline"]}})
    mine = [run for run in runs if of_event(run)]
    assert not [run for run in mine if run["state"]["type"] in ("FAILED", "CRASHED")], mine
    return mine


def find_completed(api: Api) -> dict[str, Any] | None:
    """One of them that is done."""
    return next((run for run in find_runs(api) if run["state"]["type"] == "COMPLETED"), None)


def of_event(run: dict[str, Any]) -> bool:
    """Whether an automation made the run, which the event has told where the images are."""
    return "shapes" in str((run["parameters"].get("overrides") or {}).get("data.name"))


def find_events(api: Api, name: str, resource: str = "") -> Any:
    """The events of a name, and of a resource, that the server has kept."""
    found = api.post("/events/filter", filter={"event": {"name": [name]}})["events"]
    return [one for one in found if one["resource"]["prefect.resource.id"].startswith(resource)]


def find_messages(api: Api, flow: str) -> list[str]:
    """The state messages of a flow's runs."""
    runs = api.post("/flow_runs/filter", flows={"name": {"any_": [flow]}})
    return [run["state"]["message"] for run in runs]
