"""Exported programs give what the model gives, for any number of images, without the package."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.pulled_models import pull_small_model
from tests.support.refusals import catch_refusal
from vae.export.folder import export_model
from vae.models import load_model

KINDS: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {
    "dense": ((1, 8, 8), {}),
    "convolutions": ((1, 8, 8), {"kind": "ConvVAE", "channels": (4, 8)}),
    "levels": (
        (3, 8, 8),
        {
            "kind": "ConvVAE",
            "channels": (4,),
            "residual_blocks": 1,
            "normalization": "group",
            "latents": "map",
            "latent_dim": 32,
            "hidden": (),
            "likelihood": "logistic-mixture",
            "components": 2,
        },
    ),
}
ALONE = """
import sys, torch
encoder, decoder, sampler = (
    torch.export.load(f"{sys.argv[1]}/{name}.pt2").module()
    for name in ("encoder", "decoder", "sampler")
)
for count in (1, 2, 5):
    pictures = sampler(torch.ones(count))
    assert pictures.shape[0] == count
    assert decoder(encoder(pictures)[0]).shape == pictures.shape
assert not any(name.partition(".")[0] == "vae" for name in sys.modules)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_programs_give_what_the_model_gives(kind: str, tmp_path: Path) -> None:
    """For one image and for many; of a process without this package, too."""
    shape, settings = KINDS[kind]
    data = {"binarize": "none"}
    folder, _ = pull_small_model(tmp_path, shape, data, **settings)
    model = load_model(folder)
    assert export_model(folder, tmp_path / "out", "torch") == [
        "encoder.pt2",
        "decoder.pt2",
        "sampler.pt2",
    ]
    encoder = torch.export.load(tmp_path / "out" / "encoder.pt2").module()
    decoder = torch.export.load(tmp_path / "out" / "decoder.pt2").module()
    for count in (1, 3, 17):
        x = torch.rand(count, *shape)
        with torch.no_grad():
            torch.testing.assert_close(encoder(x), model.encode(x))
            z = model.encode(x)[0]
            torch.testing.assert_close(decoder(z), model.likelihood.mean(model.decode(z)))
    alone = [sys.executable, "-I", "-c", ALONE, str(tmp_path / "out")]
    done = subprocess.run(alone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["dense", "convolutions"])
def test_onnx_gives_what_the_model_gives(kind: str, tmp_path: Path) -> None:
    """In onnxruntime, for any number of images."""
    onnxruntime = pytest.importorskip("onnxruntime")
    shape, settings = KINDS[kind]
    folder, _ = pull_small_model(tmp_path, shape, **settings)
    assert export_model(folder, tmp_path / "out", "onnx") == ["encoder.onnx", "decoder.onnx"]
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "encoder.onnx"))
    x = torch.rand(5, *shape)
    with torch.no_grad():
        expected = load_model(folder).encode(x)
    for ours, theirs in zip(session.run(None, {"x": x.numpy()}), expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5, atol=1e-5)


def test_a_repository_loads_and_has_its_card(tmp_path: Path) -> None:
    """The card is its README; the model in it is the model."""
    folder, _ = pull_small_model(tmp_path)
    files = export_model(folder, tmp_path / "out", "hf")
    assert {"README.md", "config.json", "model.safetensors", "metrics.json"} <= set(files)
    z = torch.randn(3, 2)
    with torch.no_grad():
        pair = [load_model(where).decode(z) for where in (folder, tmp_path / "out")]
    torch.testing.assert_close(*pair, rtol=0, atol=0)


def test_what_can_not_be_exported(tmp_path: Path) -> None:
    """One line; nothing is left behind, and nothing that was there is touched."""
    folder, _ = pull_small_model(tmp_path)
    assert "must be one of torch, onnx, hf" in catch_refusal(
        export_model, folder, tmp_path / "out", "tf"
    )
    assert "give a new folder" in catch_refusal(export_model, folder, folder, "torch")
    (folder / "config.json").write_text("{}")
    assert "config.json was changed" in catch_refusal(
        export_model, folder, tmp_path / "out", "torch"
    )
    assert not (tmp_path / "out").exists()
