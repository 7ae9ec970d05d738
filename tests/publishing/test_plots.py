"""Plots of a run's records: SVG that a page can hold inline."""

import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from vae.publishing import plots
from vae.runs.trials import Trial

HISTORY = [
    {"epoch": epoch, "train/loss": 150 / epoch, "val/loss": 140 / epoch, "val/rate": 20.0 + epoch}
    for epoch in range(1, 6)
]
LATENT, RATE = "model.latent_dim", "train.learning_rate"


def trial(number: int, loss: float | None, **fields: Any) -> Trial:
    overrides = {LATENT: 10 * number, RATE: 1e-3 * number}
    row: dict[str, Any] = {"number": number, "overrides": overrides, "loss": loss, "epochs": 4}
    return Trial(**row | {"stopped": False, "spans": []} | fields)


TRIALS = [
    trial(1, 120.0, stopped=True),
    trial(2, 101.0),
    trial(3, None, error="CUDA out of memory"),
    trial(4, math.nan),
    trial(5, 101.0),
    trial(6, 99.0, error="training diverged"),
]
SVGS = {
    "curves": lambda: plots.plot_training(HISTORY),
    "trials": lambda: plots.plot_trials(TRIALS, LATENT, RATE),
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
    """Both losses, with their unit, and every other metric that any epoch has, each once."""
    history = [*HISTORY, {"epoch": 6, "val/new_metric": 1.0, "images_per_s": 9.0}]
    shown = texts(plots.plot_training(history))
    for name in ("train/loss", "val/loss", "loss (nats per image)", "val/rate", "val/new_metric"):
        assert shown.count(name) == 1
    assert "new metric" in shown
    assert not [text for text in shown if "images" in text and "nats" not in text]


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_curves_leave_out_what_was_not_measured(value: float | None) -> None:
    """A metric that is None or not finite in an epoch takes only that point from its line."""
    history = [row | {"val/loss": value} if row["epoch"] == 3 else row for row in HISTORY]
    shorter = plots.plot_training(history)
    assert shorter != plots.plot_training(HISTORY)
    assert "nan" not in shorter.lower()


def test_curves_of_one_epoch_and_of_none() -> None:
    """The first epoch is a point; before it, the axes stand empty."""
    for history in (HISTORY[:1], []):
        assert "epoch" in texts(plots.plot_training(history))


def test_trial_plot_names_every_outcome_once() -> None:
    """The legend has the outcomes that occur and the best trial."""
    shown = texts(plots.plot_trials(TRIALS, LATENT, RATE))
    for name in ("finished", "stopped early", "failed", "best"):
        assert shown.count(name) == 1
    assert "best" not in texts(plots.plot_trials(TRIALS[2:3], LATENT, RATE))


def test_trial_plot_needs_both_settings() -> None:
    """A trial without the setting that is to be drawn is an error."""
    with pytest.raises(KeyError, match="learning_rate"):
        plots.plot_trials([trial(1, 100.0, overrides={LATENT: 10})], LATENT, RATE)
