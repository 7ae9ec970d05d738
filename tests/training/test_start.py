"""Training that begins with a published version's weights."""

from pathlib import Path

import pytest
import torch

from tests.support.images import draw_images
from tests.support.refusals import catch_refusal
from tests.support.versions import write_version
from vae.experiments.loading import load_experiment
from vae.experiments.settings import ModelConfig, Value
from vae.files import hash_bytes
from vae.models.networks import build_model
from vae.models.saved_model import save_model
from vae.registry.lineage import Start
from vae.registry.publish import Origin, publish
from vae.store.open import open_store
from vae.store.promises import Store
from vae.training.fit import Fit
from vae.training.start import check_start, load_start

SHAPE = (1, 4, 4)
MODEL = build_model(ModelConfig(latent_dim=3, hidden=(8,)), SHAPE, seed=7)


@pytest.fixture
def published(tmp_path: Path) -> tuple[Store, Start]:
    """A store with the model in it."""
    store, folder = open_store(str(tmp_path / "store")), write_version(tmp_path / "v1", 1.0)
    save_model(MODEL, folder)
    manifest = publish(store, "m", "v1", folder, Origin("r", "d", {}))
    digest = hash_bytes(manifest.to_bytes())
    return store, Start(name="m", version="v1", manifest_sha256=digest)


def test_a_fit_takes_the_weights_and_nothing_else(published: tuple[Store, Start]) -> None:
    """Model and average begin as the version ended; Adam and the count of steps are new."""
    overrides: dict[str, Value] = {"model.latent_dim": 3, "model.hidden": [8], "search.trials": 0}
    experiment = load_experiment("tiny", overrides)
    images = draw_images(20, SHAPE)
    fit = Fit(experiment, images, images, torch.device("cpu"))
    fit.begin_from(load_start(*published))
    for model in (fit.state.model, fit.state.averaged):
        torch.testing.assert_close(model.state_dict(), MODEL.state_dict(), rtol=0, atol=0)
    assert (fit.state.epoch, fit.state.step) == (0, 0)
    assert not fit.state.optimizer.state
    fit.run_epoch(fit.state.model, lambda step: None)
    weight = "encoder.1.weight"
    assert not torch.equal(fit.state.model.state_dict()[weight], MODEL.state_dict()[weight])


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "manifest.json"])
def test_a_damaged_start_is_refused_by_name(published: tuple[Store, Start], file: str) -> None:
    """Nothing is trained from what is not what was published."""
    store, start = published
    key = f"models/m/versions/v1/{file}"
    store.put(key, store.read(key) + b" ")
    message = catch_refusal(load_start, store, start)
    assert message.startswith("train.from m@v1: ")
    assert "was changed" in message
    assert "train.from = scratch" in message


def test_another_network_is_refused() -> None:
    """What differs, its value and the one asked for, in one line."""
    start = Start(name="m", version="v1", manifest_sha256="0" * 64)
    check_start(MODEL, start, MODEL.config, SHAPE)
    wider = ModelConfig(latent_dim=3, hidden=(8, 9))
    message = catch_refusal(check_start, MODEL, start, wider, SHAPE)
    assert "train.from m@v1: its model.hidden is [8], the experiment's [8, 9]" in message
    message = catch_refusal(check_start, MODEL, start, MODEL.config, (3, 4, 4))
    assert "its image size is [1, 4, 4], the experiment's [3, 4, 4]" in message
