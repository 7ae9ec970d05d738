"""The figures at the head of a report."""

import pytest

from tests.support.findings import METRICS
from vae.experiments.settings import ModelConfig
from vae.publishing.report.headlines import format_headlines


def test_headlines_need_every_metric() -> None:
    """A metric that is missing is an error, not a gap in the page."""
    with pytest.raises(KeyError, match="test/rate"):
        format_headlines(
            {name: METRICS[name] for name in METRICS if name != "test/rate"}, ModelConfig()
        )


def test_quality_is_shown_where_it_was_measured() -> None:
    """With labels the probe and the distances follow; runs without them keep their page."""
    quality = {
        "test/probe_accuracy": 0.9312,
        "test/frechet_samples": 31.416,
        "test/frechet_reconstructions": 7.5,
        "test/frechet_floor": 0.256,
    }
    plain, judged = (
        format_headlines(metrics, ModelConfig()) for metrics in (METRICS, METRICS | quality)
    )
    assert judged[: len(plain)] == plain
    assert [value for _, value, _ in judged[len(plain) :]] == ["31.42", "7.50", "0.26", "93.12%"]


def test_bits_come_first_where_pixels_have_levels() -> None:
    """Of 256 levels people compare bits per dimension; a density has none to show."""
    levels = format_headlines(METRICS, ModelConfig(likelihood="logistic"))
    assert levels[0][1:] == ("0.1817", "bits per dimension")
    assert sorted(levels) == sorted(format_headlines(METRICS, ModelConfig()))
    density = {name: value for name, value in METRICS.items() if name != "test/bits_per_dim"}
    shown = format_headlines(density, ModelConfig(likelihood="gaussian"))
    assert not [unit for _, _, unit in shown if "bits" in unit]
