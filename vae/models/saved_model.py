"""A model in a folder: weights as safetensors, its configuration as JSON, nothing pickled.

Loading needs torch, NumPy and safetensors, and no other package.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from vae.errors import UserError
from vae.experiments.settings import ModelConfig
from vae.models.networks import VAE, build_model


def save_model(model: VAE, directory: Path) -> None:
    """Write model.safetensors and config.json: all that `load_model` needs. Raises OSError."""
    weights = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    (directory / "model.safetensors").write_bytes(save(weights))
    config = {"model": asdict(model.config), "shape": model.shape}
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_model(directory: Path | str) -> VAE:
    """The model in a pulled directory, in evaluation mode, on the CPU.

    Raises UserError, naming the file, if a file is missing, is not what it says it is, or does
    not fit the configuration.
    """
    directory = Path(directory)
    config_path, weights_path = directory / "config.json", directory / "model.safetensors"
    for path in (config_path, weights_path):
        if not path.is_file():
            raise UserError(f"{directory} holds no model: {path.name} is missing")
    model = build_described(config_path)
    try:
        weights = load_file(weights_path)
        dtype = next((tensor.dtype for tensor in weights.values()), torch.float32)
        model.to(dtype).load_state_dict(weights)
    except (SafetensorError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{weights_path} does not hold this model's weights: {reason}") from None
    return model.eval()


def build_described(path: Path) -> VAE:
    """An untrained model as a config.json describes it. Raises UserError."""
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        settings: dict[str, Any] = described["model"]
        lists = {name: tuple(settings[name]) for name in ("hidden", "channels")}
        colours, height, width = described["shape"]
        return build_model(ModelConfig(**settings | lists), (colours, height, width))
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{path} describes no model of this package: {error}") from None
