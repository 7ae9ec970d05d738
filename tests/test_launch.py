"""Training seen from the driver: what it checks and tells before Ray starts anything."""

from dataclasses import replace

import pyarrow.fs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae.datasets import DatasetRef
from vae.errors import UserError
from vae.experiment import load_experiment
from vae.launch import check_model, uri_for_ray

DIGITS = DatasetRef(
    key="k", name="n", digest="d", shape=(1, 28, 28), counts={}, classes=10, files={}
)


def test_a_network_that_can_not_take_the_images() -> None:
    """It is refused in one line, where workers would find out one after the other."""
    experiment = load_experiment("mnist-conv")
    check_model(experiment, DIGITS)
    with pytest.raises(UserError, match="model: images are 30x28, ConvVAE needs multiples of 4"):
        check_model(experiment, replace(DIGITS, shape=(1, 30, 28)))


@given(st.text("abé %#?+&=~.-_", min_size=1).filter(lambda text: text.strip(".")))
def test_ray_writes_below_the_stores_own_prefix(prefix: str) -> None:
    """Whatever the prefix in a bucket is, Arrow, by which Ray writes, reads it from the URI."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # or AWS is asked for a region
        environment.setenv("AWS_REGION", "us-east-1")
        _, path = pyarrow.fs.FileSystem.from_uri(uri_for_ray(f"s3://bucket/{prefix}/x"))
    assert path == f"bucket/{prefix}/x"
