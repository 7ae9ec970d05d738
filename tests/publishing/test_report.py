"""The report: complete, self-contained, and safe to open whatever names are in it."""

import base64
import dataclasses
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

from vae.data.datasets import DatasetRef
from vae.experiments.settings import Experiment, ModelConfig
from vae.models.networks import build_model
from vae.publishing.pictures import (
    draw_interpolation,
    draw_latents,
    draw_reconstructions,
    draw_samples,
)
from vae.publishing.report import format_headlines, render, split_time
from vae.runs.run import Run
from vae.store.open import open_store

HOSTILE = "<script src=//evil.example/x.js></script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}&"
VOID = {"meta", "img", "br"}
METRICS = {
    "val/nll": 104.321,
    "test/nelbo": 103.987,
    "test/rate": 24.5,
    "test/distortion": 79.487,
    "test/nll": 98.765,
    "test/nll_samples": 500.0,
    "test/bits_per_dim": 0.18174,
    "test/active_units": 17.0,
}
SEARCHED = {"model.latent_dim": 20, "train.learning_rate": 0.00123456}
TRIALS: list[dict[str, Any]] = [
    {"number": 1, "loss": 110.0, "epochs": 2, "stopped": True, "spans": [], "error": None},
    {"number": 2, "loss": 104.5, "epochs": 4, "stopped": False, "spans": [], "error": None},
    {"number": 3, "loss": None, "epochs": 0, "stopped": False, "spans": [], "error": "no memory"},
]
STAGES: dict[str, dict[str, Any]] = {
    "data": {"time": {"seconds": 2.0, "compute_s": 0.0}},
    "search": {
        "overrides": SEARCHED,
        "trials": [trial | {"overrides": SEARCHED} for trial in TRIALS],
        "time": {"seconds": 30.5, "compute_s": 21.25},
    },
    "train": {
        "history": [{"epoch": 1, "train/loss": 140.0, "val/nelbo": 104.321}],
        "best_epoch": 1,
        "time": {"seconds": 40.0, "compute_s": 33.0},
    },
    "evaluate": {"metrics": METRICS, "time": {"seconds": 5.0, "compute_s": 4.0}},
}
REF = DatasetRef(
    key="datasets/mnist-1a2b3c4d",
    name="mnist",
    digest="ab" * 32,
    shape=(1, 28, 28),
    counts={"train": 50_000, "val": 10_000, "test": 10_000},
    classes=10,
    files={},
)


class Page(HTMLParser):
    """A parsed page: its elements, and its text as a reader sees it; refuses unbalanced tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.open = "", list[str]()
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def run_in(folder: Path) -> Run:
    return Run(
        run_id="mnist-test",
        experiment=Experiment(name="mnist"),
        created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        store=open_store(str(folder)),
    )


@pytest.fixture(scope="module")
def pictures() -> dict[str, bytes]:
    model = build_model(ModelConfig(latent_dim=2, hidden=(16,)), (1, 28, 28))
    images, labels = torch.zeros(4, 1, 28, 28, dtype=torch.uint8), torch.arange(4)
    return {
        "samples": draw_samples(model, 4),
        "reconstructions": draw_reconstructions(model, images),
        "interpolation": draw_interpolation(model, images, labels),
        "latent": draw_latents(model, images, labels),
    }


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory, pictures: dict[str, bytes]) -> str:
    run = run_in(tmp_path_factory.mktemp("store"))
    return render(run, Experiment(name="mnist"), REF, STAGES, pictures)


def test_says_what_was_trained_and_how_good_it_is(html: str) -> None:
    """Name, version, run, metrics with units, dataset digest and settings are there to read."""
    text = re.sub(r"\s+", " ", Page(html).text)
    for wanted in (
        "version 20260102T030405-mnist-test , run mnist-test",
        "103.99 nats per image",
        "≤ 98.77 nats per image, K = 500",
        "0.1817 bits per dimension",
        "17 of 20 latents",
        "50,000 train, 10,000 val, 10,000 test",
        REF.digest,
        "learning_rate 0.001",
        "torch " + metadata.version("torch"),
    ):
        assert wanted in text


def test_pictures_are_embedded_to_the_byte(html: str, pictures: dict[str, bytes]) -> None:
    """Every picture decodes to the PNG that was given, and says what it shows."""
    shown = [attributes for tag, attributes in Page(html).elements if tag == "img"]
    sources = [
        str(attributes["src"]).removeprefix("data:image/png;base64,") for attributes in shown
    ]
    assert [base64.b64decode(source, validate=True) for source in sources] == [*pictures.values()]
    assert all(attributes["alt"] for attributes in shown)


def test_needs_nothing_but_itself(html: str) -> None:
    """No script, no address, no reference that is not inside the page; the policy says so too."""
    elements = Page(html).elements
    assert "http://" not in html
    assert "https://" not in html
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in elements}
    references = [
        str(attributes[name])
        for _, attributes in elements
        for name in ("src", "href", "xlink:href", "srcset", "action")
        if name in attributes
    ]
    assert references
    assert all(reference.startswith(("data:", "#")) for reference in references)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    assert "default-src 'none'" in html


def test_ids_are_unique_in_the_page(html: str) -> None:
    """The two plots in one page do not answer for each other."""
    ids = [attributes["id"] for _, attributes in Page(html).elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_trials_show_the_best_the_stopped_and_the_failed(html: str) -> None:
    """Each trial is a row that says how it ended; the best one is marked, and only it."""
    rows = re.findall(
        r"<tr( class=\"best\")?>\s*<td class=\"number\">(\d)</td>(.*?)</tr>", html, re.S
    )
    marks = {number: bool(best) for best, number, _ in rows}
    assert marks == {"1": False, "2": True, "3": False}
    for (_, _, row), wanted in zip(
        rows, ["stopped early", "finished, <strong>best", "no memory"], strict=True
    ):
        assert wanted in row
        assert "learning_rate = 0.00123" in row


def test_run_without_search_says_so(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    """No trials: no table, no empty plot."""
    unsearched = STAGES | {"search": STAGES["search"] | {"trials": []}}
    html = render(run_in(tmp_path), Experiment(name="mnist"), REF, unsearched, pictures)
    assert "No search" in html
    assert html.count("<svg") == 1


def test_search_of_another_setting_has_a_table_and_no_plot(
    tmp_path: Path, pictures: dict[str, bytes]
) -> None:
    """The plot is of latent size and learning rate; any other search is still listed."""
    trials = [trial | {"overrides": {"train.batch_size": 64}} for trial in TRIALS]
    other = STAGES | {"search": STAGES["search"] | {"trials": trials}}
    html = render(run_in(tmp_path), Experiment(name="mnist"), REF, other, pictures)
    assert html.count("<svg") == 1
    assert html.count("train.batch_size = 64") == 3


def test_hostile_names_stay_text(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    """Markup in any name, error or setting is shown as it is written and never becomes markup."""
    run = dataclasses.replace(run_in(tmp_path), run_id=HOSTILE)
    ref = dataclasses.replace(REF, name=HOSTILE, key=HOSTILE, digest=HOSTILE, counts={HOSTILE: 1})
    overrides = {HOSTILE: HOSTILE} | SEARCHED
    trials = [trial | {"overrides": overrides, "error": HOSTILE} for trial in TRIALS]
    stages = STAGES | {"search": STAGES["search"] | {"trials": trials}}
    plain = Page(render(run_in(tmp_path), Experiment(name="mnist"), REF, STAGES, pictures))
    page = Page(render(run, Experiment(name="mnist"), ref, stages, pictures))
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in plain.elements}
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert len([tag for tag, _ in page.elements if tag == "img"]) == len(pictures)
    shown = {"run and version": 3, "dataset": 4, "overrides": 6, "errors": 3}
    assert page.text.count(HOSTILE) == sum(shown.values())


def test_same_run_same_page(html: str, tmp_path: Path, pictures: dict[str, bytes]) -> None:
    """Publishing again after a crash finds the same bytes."""
    assert html == render(run_in(tmp_path), Experiment(name="mnist"), REF, STAGES, pictures)


def test_headlines_need_every_metric() -> None:
    """A metric that is missing is an error, not a gap in the page."""
    with pytest.raises(KeyError, match="test/rate"):
        format_headlines(
            {name: METRICS[name] for name in METRICS if name != "test/rate"}, ModelConfig()
        )


def test_time_is_split_without_a_rest(html: str) -> None:
    """Training and evaluating and everything else sum to the stage, and stages to the total."""
    row = split_time("search", STAGES["search"]["time"])
    assert row["compute"] + row["rest"] == row["total"]
    footer = re.findall(r"<tfoot>.*?</tfoot>", html, re.S)[0]
    assert re.findall(r"number\">([\d.]+)<", footer) == ["77.5", "58.2", "19.2"]


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
