"""What the tracking tests share: W&B's runs, read back by its own reader."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Record = dict[str, Any]


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
