"""What the tracking tests share: a wandb of their own, and its runs read back by its own reader."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Record = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def private_wandb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """wandb with no key and no settings of the user's, and its files in a temporary folder."""
    home = tmp_path_factory.mktemp("wandb-home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "NETRC"):
            patch.setenv(name, str(home / name.lower()))
        yield patch


def png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 3), shade).save(file, "png")
    return file.getvalue()


def inspect(path: Path) -> list[Record]:
    """Return the records of an offline run, as W&B's own reader prints them."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", str(path), "--json"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return [json.loads(line) for line in printed.stdout.splitlines()]


def of_type(records: list[Record], kind: str) -> list[Record]:
    return [record[kind] for record in records if record["type"] == kind]


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "vae.tracking"]


def history(records: list[Record], key: str) -> list[Any]:
    items = [record["item"] for record in of_type(records, "history")]
    return [item[key] for item in items if key in item]
