"""A model in a folder: it comes back as it was, and what is none is refused in one line."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.support.refusals import catch_refusal
from vae.experiments.settings import ModelConfig
from vae.models.networks import build_model
from vae.models.saved_model import load_model, save_model

SHAPE = (1, 4, 4)
CONFIGS = [
    ModelConfig(latent_dim=3, hidden=(8,)),
    ModelConfig(kind="ConvVAE", latent_dim=3, hidden=(), channels=(2, 3), activation="silu"),
    ModelConfig(latent_dim=3, hidden=(8,), likelihood="logistic", scale="channel"),
    ModelConfig(
        kind="ConvVAE",
        hidden=(),
        channels=(2,),
        residual_blocks=1,
        normalization="group",
        likelihood="gaussian",
    ),
    ModelConfig(
        kind="ConvVAE",
        latent_dim=8,
        latents="map",
        hidden=(),
        channels=(2,),
        likelihood="logistic-mixture",
        components=2,
    ),
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_comes_back(config: ModelConfig, dtype: torch.dtype, tmp_path: Path) -> None:
    """A saved model is loaded with its configuration, shape, type and every weight."""
    model = build_model(config, SHAPE, seed=3).to(dtype)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert (loaded.config, loaded.shape) == (config, SHAPE)
    assert not loaded.training
    weights = model.state_dict()
    assert weights.keys() == loaded.state_dict().keys()
    for name, weight in loaded.state_dict().items():
        assert weight.dtype == dtype
        assert torch.equal(weight, weights[name])


def test_a_model_from_before_likelihoods(tmp_path: Path) -> None:
    """A config.json without the settings that came later describes the network it always did."""
    model = build_model(CONFIGS[1], SHAPE, seed=3)
    save_model(model, tmp_path)
    path = tmp_path / "config.json"
    described = json.loads(path.read_text())
    for later in (
        *("likelihood", "scale", "components"),
        *("residual_blocks", "normalization", "latents"),
    ):
        del described["model"][later]
    path.write_text(json.dumps(described))
    assert load_model(tmp_path).config == CONFIGS[1]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file(name: str, tmp_path: Path) -> None:
    """A directory without one of the two files holds no model, and the file is named."""
    save_model(build_model(CONFIGS[0], SHAPE), tmp_path)
    (tmp_path / name).unlink()
    assert f"{name} is missing" in catch_refusal(load_model, tmp_path)
    assert "holds no model" in catch_refusal(load_model, tmp_path / "none")


class Trap:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_bytes, (self.path, b"sprung")


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    """Weights that are a pickle are refused, and nothing in them runs."""
    save_model(build_model(CONFIGS[0], SHAPE), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    assert "does not hold this model's weights" in catch_refusal(load_model, tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_weights_of_another_model(tmp_path: Path) -> None:
    """Weights that do not fit the configuration, torn ones and none at all are refused."""
    save_model(build_model(CONFIGS[0], SHAPE), tmp_path)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    others = [
        {k: v.contiguous() for k, v in build_model(CONFIGS[1], SHAPE).state_dict().items()},
        {},
        {"a": torch.zeros(2, dtype=torch.int8)},
    ]
    for weights in others:
        save_file(weights, path)
        assert "does not hold this model's weights" in catch_refusal(load_model, tmp_path)
    for data in (whole[:-1], whole[:20], b""):
        path.write_bytes(data)
        assert "does not hold this model's weights" in catch_refusal(load_model, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"model": None},
        {"model": {}},
        {"shape": [1, 4]},
        {"shape": "big"},
        {"shape": [-1, 4, 4]},
        {"model": {"kind": "GAN", "hidden": [], "channels": []}},
        {"model": {"latent_dim": "3", "hidden": [8], "channels": []}},
        {"model": {"width": 3, "hidden": [8], "channels": []}},
    ],
)
def test_a_configuration_of_nothing(change: dict[str, Any], tmp_path: Path) -> None:
    """A configuration that describes no model is refused, and config.json is named."""
    save_model(build_model(CONFIGS[0], SHAPE), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert "config.json describes no model" in catch_refusal(load_model, tmp_path)
    path.write_bytes(b"\xff{")
    assert "config.json describes no model" in catch_refusal(load_model, tmp_path)
