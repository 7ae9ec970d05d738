"""Every Python snippet of docs/use-the-model.md runs, in the order in which a reader meets them."""

import re
from pathlib import Path

import numpy as np
import pytest

from flows.cli import app
from tests.support.images import draw_images
from tests.support.pulled_models import pull_small_model

PAGE = Path(__file__).parents[1] / "docs" / "use-the-model.md"
BLOCK = re.compile(r"^```(python)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
UNTRIED = ("--format onnx",)  # tests/export has it


def test_the_page_on_using_a_model_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands and Python alike, on a small pulled model and a folder of images."""
    monkeypatch.chdir(tmp_path)
    folder, _ = pull_small_model(tmp_path / "made", data={"binarize": "none"})
    folder.rename("model")
    np.save("pets.npy", draw_images(9, (1, 8, 8)).numpy())
    for language, block in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(block, PAGE.name, "exec"), {"__name__": PAGE.name})
            continue
        for line in block.splitlines():
            if not any(part in line for part in UNTRIED):
                words = line.replace(" pets ", " pets.npy ").split()[1:]
                app(words, standalone_mode=False)
    for made in ("grid.png", "samples/00099.png", "pictures.npy", "scores.csv"):
        assert Path(made).stat().st_size > 0
    assert Path("repository/README.md").is_file()
