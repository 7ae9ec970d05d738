"""What a finished run is published as."""

from vae.datasets import DataConfig
from vae.publication import compared_by


def test_bounds_compare_on_the_same_images_alone() -> None:
    """Neither grey levels with binarised images nor two binarisations; grey levels take no seed."""
    seen = [
        DataConfig(binarize="dynamic"),
        DataConfig(binarize="dynamic", binarize_seed=1),
        DataConfig(binarize="none"),
    ]
    assert len({compared_by(data) for data in seen}) == 3
    assert compared_by(DataConfig(binarize="none", binarize_seed=1)) == compared_by(seen[-1])
