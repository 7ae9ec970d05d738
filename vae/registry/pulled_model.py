"""A pulled model, ready to draw with: verified first, then loaded."""

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from vae.errors import UserError
from vae.models.networks import VAE
from vae.models.saved_model import load_model
from vae.registry.manifest import verify


@dataclass(frozen=True)
class PulledModel:
    """A model and some images of its test split."""

    model: VAE
    images: Tensor  # uint8 [N, C, H, W]
    labels: Tensor  # int64 [N]


def open_model(directory: Path) -> PulledModel:
    """Verify every file of a pulled directory, then load it. Raises UserError."""
    manifest = verify(directory)
    if "examples.safetensors" not in manifest.files:
        raise UserError(f"{directory} was published without examples.safetensors")
    examples = load_file(directory / "examples.safetensors")
    return PulledModel(load_model(directory), examples["images"], examples["labels"])
