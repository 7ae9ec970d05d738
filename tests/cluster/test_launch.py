"""Training seen from the driver: what it checks before Ray starts anything."""

from dataclasses import replace

import pytest

from vae.cluster.launch import check_model
from vae.data.datasets import DatasetRef
from vae.errors import UserError
from vae.experiments.loading import load_experiment

DIGITS = DatasetRef(
    key="k", name="n", digest="d", shape=(1, 28, 28), counts={}, classes=10, files={}
)


def test_a_network_that_can_not_take_the_images() -> None:
    """It is refused in one line, where workers would find out one after the other."""
    experiment = load_experiment("mnist-conv")
    check_model(experiment, DIGITS)
    with pytest.raises(UserError, match="model: images are 30x28, ConvVAE needs multiples of 4"):
        check_model(experiment, replace(DIGITS, shape=(1, 30, 28)))
    too_large = load_experiment("mnist", {"model.latent_dim": 10**12})
    with pytest.raises(UserError, match=r"model: .* allocate memory: you tried"):
        check_model(too_large, DIGITS)
