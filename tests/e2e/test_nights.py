"""A scheduled run that asks first whether anything is new, on a real Prefect server."""

from pathlib import Path

import numpy as np
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.pipeline import find_unchanged, pipeline
from tests.support.prefect_server import PrefectServer
from tests.support.versions import publish_version, write_version
from vae.data.datasets import prepare
from vae.experiments.loading import load_experiment
from vae.experiments.settings import Value
from vae.publishing.recipe import hash_recipe
from vae.store.open import open_store


def test_a_night_without_news_publishes_nothing(
    prefect_server: PrefectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Completed at once, and says since when; new images or another setting are news."""
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4), dtype=np.uint8)
    np.save("pets.npy", images)
    overrides: dict[str, Value] = {"data.name": "pets.npy", "data.validation": 10, "data.limit": 0}
    store = open_store(str(tmp_path / "store"))
    experiment = load_experiment("tiny", overrides | {"data.name": str(tmp_path / "pets.npy")})
    assert find_unchanged(load_experiment("tiny", overrides), store) is None

    recipe = hash_recipe(experiment, prepare(experiment.data, store).digest)
    version = write_version(tmp_path / "version", 90.0)
    publish_version(store, "v1", version, name="tiny-pets", recipe=recipe)
    with temporary_settings({PREFECT_API_URL: prefect_server.url}):
        state = pipeline(
            experiment="tiny",
            overrides=overrides,
            store=store.uri,
            skip_unchanged=True,
            return_state=True,
        )
    assert (state.name, state.message) == ("Completed", "nothing new since v1")
    assert not store.list("runs")
    assert len(store.list("models/tiny-pets/versions")) == len(list(version.iterdir())) + 1

    changed = load_experiment("tiny", overrides | {"train.epochs": 4})
    assert find_unchanged(changed, store) is None
    np.save("pets.npy", np.concatenate([images, images[:7]]))
    assert find_unchanged(load_experiment("tiny", overrides), store) is None
