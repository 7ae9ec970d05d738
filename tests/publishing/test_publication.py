"""What a finished run is published as."""

import math
from typing import Any

import pytest

from vae.errors import UserError
from vae.experiments.settings import DataConfig, Experiment, ModelConfig
from vae.publishing.publication import check_finite
from vae.registry.promote import name_metric

NOT_BINARY = ("logistic", "logistic-mixture", "gaussian")


def of_data(likelihood: Any = "bernoulli", **data: Any) -> dict[str, Any]:
    model = ModelConfig(likelihood=likelihood)
    return Experiment(name="small", data=DataConfig(**data), model=model).to_dict()


def test_bounds_compare_on_the_same_images_alone() -> None:
    """Neither two binarisations, grey levels, nor two likelihoods; grey levels take no seed."""
    seen = [
        of_data(binarize="dynamic"),
        of_data(binarize="dynamic", binarize_seed=1),
        of_data(binarize="none"),
        *(of_data(likelihood, binarize="none") for likelihood in NOT_BINARY),
    ]
    assert len({name_metric(experiment) for experiment in seen}) == 6
    for likelihood, same in zip(("bernoulli", *NOT_BINARY), seen[2:], strict=True):
        other = of_data(likelihood, binarize="none", binarize_seed=1)
        assert name_metric(other) == name_metric(same)
    assert "levels" not in name_metric(seen[-1])  # a density is of real numbers


def test_a_metric_that_is_no_number_is_not_published() -> None:
    """It would stand in the way of every list of the model's versions."""
    check_finite({"val/nll": 90.0})
    with pytest.raises(UserError, match="test/nll is nan"):
        check_finite({"val/nll": 90.0, "test/nll": math.nan})
