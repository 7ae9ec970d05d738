"""Small but complete versions of a model, to publish and to promote."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from vae.registry.manifest import Manifest
from vae.registry.pointers import Best
from vae.registry.publish import Origin, publish
from vae.store.promises import Store

DATASET = "d" * 64
EXPERIMENT = {"model": {"hidden": (200, 200)}}


def write_version(folder: Path, nll: float) -> Path:
    """The files of a version with this bound, in a new folder."""
    folder.mkdir()
    save_file({"w": np.full(3, nll, np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"latent_dim": 2}')
    (folder / "metrics.json").write_text(json.dumps({"val/nll": nll}))
    (folder / "report.html").write_text("<p>report</p>")
    return folder


def publish_version(
    store: Store,
    version: str,
    directory: Path,
    name: str = "m",
    dataset: str = DATASET,
    recipe: str = "",
    experiment: Mapping[str, Any] = EXPERIMENT,
) -> Manifest:
    """Publish the files in a folder."""
    origin = Origin("run-1", dataset, dict(experiment), recipe)
    return publish(store, name, version, directory, origin)


def best_of(store: Store, name: str = "m") -> Best:
    """What a model's pointer says."""
    return Best.from_bytes(store.read(f"models/{name}/best.json"), "best.json")
