"""What a finished run is published as."""

import math

import pytest

from vae.errors import UserError
from vae.experiments.settings import DataConfig
from vae.publishing.publication import check_finite, name_metric


def test_bounds_compare_on_the_same_images_alone() -> None:
    """Neither grey levels with binarised images nor two binarisations; grey levels take no seed."""
    seen = [
        DataConfig(binarize="dynamic"),
        DataConfig(binarize="dynamic", binarize_seed=1),
        DataConfig(binarize="none"),
    ]
    assert len({name_metric(data) for data in seen}) == 3
    assert name_metric(DataConfig(binarize="none", binarize_seed=1)) == name_metric(seen[-1])


def test_a_metric_that_is_no_number_is_not_published() -> None:
    """It would stand in the way of every list of the model's versions."""
    check_finite({"val/nll": 90.0})
    with pytest.raises(UserError, match="test/nll is nan"):
        check_finite({"val/nll": 90.0, "test/nll": math.nan})
