"""A small model as a pulled version has it."""

from pathlib import Path
from typing import Any

import torch

from tests.support.images import draw_images
from vae.data.mapped import Examples
from vae.experiments.settings import DataConfig, Experiment, ModelConfig
from vae.models.networks import VAE, build_model
from vae.models.saved_model import save_model
from vae.publishing.card import CARD
from vae.publishing.publication import save_examples
from vae.registry.publish import Origin, publish
from vae.registry.pull import pull
from vae.store.open import open_store

SHAPE = (1, 8, 8)


def pull_small_model(
    folder: Path, shape: tuple[int, int, int] = SHAPE, data: Any = None, **model: Any
) -> tuple[Path, VAE]:
    """Publish and pull an untrained model; the pulled folder, and the model.

    `model`: settings other than a fully connected network of two latents; `data`: of its images.
    """
    chosen: dict[str, Any] = {"latent_dim": 2, "hidden": (16,)} | model
    settings = ModelConfig(**chosen)
    experiment = Experiment(name="small", data=DataConfig(**(data or {})), model=settings)
    network = build_model(settings, shape, seed=1).eval()
    built = folder / "built"
    built.mkdir(parents=True)
    save_model(network, built)
    save_examples(Examples(draw_images(12, shape), torch.arange(12) % 3), built)
    (built / "metrics.json").write_text('{"val/nll": 1.0}')
    (built / CARD).write_text("# small\n")
    store = open_store(str(folder / "store"))
    publish(store, "small", "v1", built, Origin("run-1", "d" * 64, experiment.to_dict()))
    pull(store, "small", "v1", folder / "model")
    torch.manual_seed(0)
    return folder / "model", network
