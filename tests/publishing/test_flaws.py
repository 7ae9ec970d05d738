"""Which models are published and not promoted, because they have learnt nothing."""

from pathlib import Path

import numpy as np
import pytest

from vae.data.datasets import DatasetRef, prepare
from vae.experiments.settings import DataConfig, Experiment
from vae.publishing.publication import find_flaw
from vae.store.open import open_store
from vae.store.promises import Store

LEARNT = {"test/active_units": 3.0, "val/nll": 1.0}


@pytest.fixture
def prepared(tmp_path: Path, local: Store) -> tuple[DatasetRef, Experiment, Store]:
    """Images of fair coins: independent pixels take 16 log 2 = 11.09 nats."""
    images = np.random.default_rng(0).integers(0, 2, (6000, 4, 4), dtype=np.uint8) * 255
    np.save(tmp_path / "coins.npy", images)
    experiment = Experiment(
        name="coins", data=DataConfig(name=str(tmp_path / "coins.npy"), validation=500)
    )
    return prepare(experiment.data, local), experiment, open_store(local.uri)


def test_a_model_that_has_learnt(prepared: tuple[DatasetRef, Experiment, Store]) -> None:
    """Below the bound of independent pixels there is nothing to say."""
    assert find_flaw(LEARNT | {"val/nll": 11.0}, *prepared) == ""


def test_a_bound_of_independent_pixels(prepared: tuple[DatasetRef, Experiment, Store]) -> None:
    """A model no better than those says so, with both figures."""
    flaw = find_flaw(LEARNT | {"val/nll": 11.3}, *prepared)
    assert "val/nll is 11.30 nats, no better than the 11." in flaw


def test_a_collapsed_posterior(prepared: tuple[DatasetRef, Experiment, Store]) -> None:
    """Without an active unit no latent says anything, whatever the bound."""
    assert "collapsed" in find_flaw(LEARNT | {"test/active_units": 0.0}, *prepared)
