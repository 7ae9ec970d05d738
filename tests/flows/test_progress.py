"""What people are told of results."""

from flows.progress import format_quality


def test_quality_is_said_in_one_line() -> None:
    """All four figures, readable; and without labels why there are none."""
    line = format_quality(
        {
            "probe_accuracy": 0.9312,
            "frechet_samples": 31.416,
            "frechet_reconstructions": 7.5,
            "frechet_floor": 0.256,
        }
    )
    for figure in ("93.12% right", "31.42 of samples", "7.50 of rec", "0.26 of training images"):
        assert figure in line
    assert "\n" not in line
    assert "no labels" in format_quality({})
