"""Plots of a run's records: SVG that a page can hold inline."""

import math
import re
import xml.etree.ElementTree as ET

import pytest

from vae.publishing import plots

HISTORY = [
    {"epoch": epoch, "train/loss": 150 / epoch, "val/loss": 140 / epoch, "val/rate": 20.0 + epoch}
    for epoch in range(1, 6)
]
LATENT, RATE = "model.latent_dim", "train.learning_rate"


def trial(number: int, loss: float | None, **fields: object) -> plots.TrialRow:
    row = {
        "number": number,
        "overrides": {LATENT: 10 * number, RATE: 1e-3 * number},
        "loss": loss,
        "epochs": 4,
        "stopped": False,
        "error": None,
    }
    return row | fields  # type: ignore[return-value]


TRIALS = [
    trial(1, 120.0, stopped=True),
    trial(2, 101.0),
    trial(3, None, error="CUDA out of memory"),
    trial(4, math.nan),
    trial(5, 101.0),
    trial(6, 99.0, error="training diverged"),
]
SVGS = {
    "curves": lambda: plots.training_curves(HISTORY),
    "trials": lambda: plots.trial_plot(TRIALS, LATENT, RATE),
}


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]+)<", svg)


@pytest.mark.parametrize("name", SVGS)
def test_svg_stands_alone_in_a_page(name: str) -> None:
    """One well-formed element, in the page's colour, that names nothing outside the page."""
    svg = SVGS[name]()
    root = ET.fromstring(svg.replace("xlink:href", "href"))
    assert root.tag == "svg"
    assert "currentColor" in svg
    assert "#000000" not in svg
    assert "://" not in svg


@pytest.mark.parametrize("name", SVGS)
def test_ids_are_unique_to_the_plot_and_found(name: str) -> None:
    """Two plots share no id in one page, and every reference has its target."""
    svg = SVGS[name]()
    ids = re.findall(r' id="([^"]*)"', svg)
    used = re.findall(r'(?:url\(#|href="#)([^")]*)', svg)
    assert all(found.startswith(f"{name}-") for found in ids)
    assert used
    assert set(used) <= set(ids)


@pytest.mark.parametrize("name", SVGS)
def test_same_records_same_text(name: str) -> None:
    """No date, no random id."""
    assert SVGS[name]() == SVGS[name]()


def test_curves_name_what_they_show() -> None:
    """The loss and the three validation metrics are named, with their unit."""
    shown = texts(plots.training_curves(HISTORY))
    assert {"train/loss", "val/loss", "val/rate", "val/distortion", "nats per image"} <= {*shown}


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_curves_leave_out_what_was_not_measured(value: float | None) -> None:
    """A metric that is None or not finite in an epoch takes only that point from its line."""
    history = [row | {"val/loss": value} if row["epoch"] == 3 else row for row in HISTORY]
    shorter = plots.training_curves(history)
    assert shorter != plots.training_curves(HISTORY)
    assert "nan" not in shorter.lower()


def test_curves_of_one_epoch_and_of_none() -> None:
    """The first epoch is a point; before it, the axes stand empty."""
    for history in (HISTORY[:1], []):
        assert "epoch" in texts(plots.training_curves(history))


def test_trial_plot_names_every_outcome_once() -> None:
    """The legend has the outcomes that occur and the best trial."""
    shown = texts(plots.trial_plot(TRIALS, LATENT, RATE))
    for name in ("finished", "stopped early", "failed", "best"):
        assert shown.count(name) == 1
    assert "best" not in texts(plots.trial_plot(TRIALS[2:3], LATENT, RATE))


def test_trial_plot_needs_both_settings() -> None:
    """A trial without the setting that is to be drawn is an error."""
    with pytest.raises(KeyError, match="learning_rate"):
        plots.trial_plot([trial(1, 100.0, overrides={LATENT: 10})], LATENT, RATE)


def test_outcome_of_a_trial() -> None:
    """An error outweighs being stopped."""
    assert [plots.outcome(row) for row in TRIALS[:3]] == ["stopped early", "finished", "failed"]
    assert plots.outcome(trial(1, 90.0, stopped=True, error="lost")) == "failed"


def test_best_row_is_the_first_of_the_lowest() -> None:
    """NaN, unfinished and failed trials never win; of equals the first does."""
    assert plots.best_row(TRIALS) is TRIALS[1]
    assert plots.best_row(TRIALS[2:4]) is None
