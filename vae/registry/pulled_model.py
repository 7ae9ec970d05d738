"""A pulled model, ready to draw with: verified first, then loaded."""

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from vae.errors import UserError
from vae.models.networks import VAE
from vae.models.saved_model import load_model
from vae.registry.manifest import Manifest, verify


@dataclass(frozen=True)
class PulledModel:
    """A model and some images of its test split."""

    model: VAE
    images: Tensor  # uint8 [N, C, H, W]
    labels: Tensor  # int64 [N]


def open_pulled(directory: Path) -> tuple[VAE, Manifest]:
    """Verify every file of a pulled directory, then load the model. Raises UserError."""
    manifest = verify(directory)
    return load_model(directory), manifest


def open_model(directory: Path) -> PulledModel:
    """`open_pulled` with the images that were published too. Raises UserError."""
    model, manifest = open_pulled(directory)
    if "examples.safetensors" not in manifest.files:
        raise UserError(f"{directory} was published without examples.safetensors")
    examples = load_file(directory / "examples.safetensors")
    return PulledModel(model, examples["images"], examples["labels"])
