"""The report: complete, self-contained, and safe to open whatever names are in it."""

import base64
import dataclasses
import hashlib
import io
import math
import re
from importlib import metadata
from pathlib import Path

import pytest
from PIL import Image

from tests.support.findings import REF, make_findings, make_run, make_trials
from tests.support.images import draw_images
from tests.support.parsed_page import ParsedPage
from vae.data.mapped import Examples
from vae.experiments.settings import ModelConfig
from vae.models.networks import build_model
from vae.publishing.epochs import KINDS, choose_epochs, draw_epoch
from vae.publishing.report.page import render_page, split_time
from vae.registry.lineage import Start
from vae.runs.confirmations import Confirmation

HOSTILE = "<script src=//evil.example/x.js></script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}&"
LIMIT_BYTES = 3_000_000


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return render_page(make_findings(tmp_path_factory.mktemp("store")))


def test_says_what_was_trained_and_how_good_it_is(html: str) -> None:
    """Name, version, run, metrics with units, dataset, classes and settings are there to read."""
    text = re.sub(r"\s+", " ", ParsedPage(html).text)
    for wanted in (
        "version 20260102T030405-mnist-test , run mnist-test",
        "103.99 nats per image",
        "≤ 98.77 nats per image, K = 500",
        "0.1817 bits per dimension",
        "17 of 20 latents",
        "50,000 train, 10,000 val, 10,000 test",
        REF.digest,
        "naught, one, two",
        "learning_rate 0.001",
        "torch " + metadata.version("torch"),
    ):
        assert wanted in text


def test_every_picture_is_in_the_page_and_says_what_it_shows(html: str) -> None:
    """Both kinds over the epochs and at the best, the walks, and what the map shows."""
    shown = ParsedPage(html).find("img")
    pictures = [
        Image.open(io.BytesIO(base64.b64decode(str(one["src"]).partition(",")[2], validate=True)))
        for one in shown
    ]
    assert {picture.format for picture in pictures} == {"WEBP"}
    frames = [one["data-name"] for one in shown if "data-name" in one]
    assert frames == ["epoch 1", "epoch 3", "epoch 3, the best"] * 2
    assert len([one for one in shown if one["alt"]]) == len(frames) + 2
    walks = [one for one in shown if one["alt"] and "data-columns" in one]
    assert [(one["data-columns"], one["data-rows"]) for one in walks] == [("11", "8"), ("13", "3")]


def test_needs_nothing_but_itself(html: str) -> None:
    """No address and no reference that is not inside the page."""
    page = ParsedPage(html)
    assert "https://" not in html
    assert html.count("http://") == html.count("http://www.w3.org/2000/svg") == 1  # a name in XML
    assert not {"link", "iframe", "object", "base"} & {tag for tag, _ in page.elements}
    references = [
        str(attributes[name])
        for _, attributes in page.elements
        for name in ("src", "href", "xlink:href", "srcset", "action")
        if name in attributes
    ]
    assert references
    assert all(reference.startswith(("data:image/", "#")) for reference in references)
    assert "url(" not in html


def test_only_its_own_script_and_style_may_run(html: str) -> None:
    """The policy names their digests, and allows nothing else: no handler, no style in a tag."""
    page = ParsedPage(html)
    (policy,) = (str(one["content"]) for one in page.find("meta") if "http-equiv" in one)
    digests = {
        part: base64.b64encode(hashlib.sha256(page.inline[part].encode()).digest()).decode()
        for part in ("style", "script")
    }
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digests['style']}'; "
        f"script-src 'sha256-{digests['script']}'"
    )
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]


def test_ids_are_unique_and_are_what_is_referred_to(html: str) -> None:
    """Each link of the page's list of parts and each section's title is there once."""
    elements = ParsedPage(html).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in elements:
        assert str(attributes.get("href", "#time"))[1:] in ids
        assert attributes.get("aria-labelledby", "time") in ids


def test_charts_say_their_values_without_being_seen(html: str) -> None:
    """Each can be focused and has a label, and each of its marks a text; tables have captions."""
    page = ParsedPage(html)
    charts = page.find("svg")
    assert len(charts) >= 10
    assert all(one["tabindex"] == "0" and one["aria-label"] for one in charts)
    assert "epoch 2, val/loss: 70" in html
    assert "image 1: naught" in html
    assert html.count("<caption>") == html.count('scope="col" class="number">epoch</th>') + 4


def test_trials_show_the_best_the_stopped_and_the_failed(html: str) -> None:
    """Each trial is a row that says how it ended; the best one is marked, and only it."""
    table = html.partition('<table class="sortable">')[2].partition("</table>")[0]
    rows = re.findall(
        r"<tr( class=\"best\")?>\s*<td class=\"number\">(\d)</td>(.*?)</tr>", table, re.S
    )
    marks = {number: bool(best) for best, number, _ in rows}
    assert marks == {"1": False, "2": True, "3": False}
    for (_, _, row), wanted in zip(
        rows, ["stopped early", "finished, <strong>best", "no memory"], strict=True
    ):
        assert wanted in row
        assert "0.00123" in row


def test_run_without_search_says_so(tmp_path: Path) -> None:
    """No trials: no table and no chart of them."""
    html = render_page(make_findings(tmp_path, trials=[]))
    assert "No search" in html
    assert "sortable" not in html.partition("</style>")[2].partition("<script>")[0]


def test_a_run_that_has_not_ended_shows_what_there_is(tmp_path: Path) -> None:
    """From the moment it began, and at every stage after."""
    whole = make_findings(tmp_path)
    stages = [*whole.stages]
    for done in range(len(stages)):
        seen = dataclasses.replace(
            whole,
            stages={stage: whole.stages[stage] for stage in stages[:done]},
            ref=REF if done else None,
            model=None,
            examples=None,
            history=whole.history[:2] if done > 1 else [],
            epochs=whole.epochs if done > 1 else {kind: {} for kind in KINDS},
            versions=[],
        )
        html = render_page(seen)
        ParsedPage(html)
        assert f"{', '.join(stages[done:])} still missing" in html
        assert ("; 2 of 3 epochs are trained" in html) == (done == 2)


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    """Markup in any name, error or setting is shown as it is written and never becomes markup."""
    whole = make_findings(tmp_path)
    run = make_run(tmp_path, HOSTILE)
    names = (HOSTILE,) * 10
    ref = dataclasses.replace(
        REF, name=HOSTILE, key=HOSTILE, digest=HOSTILE, counts={HOSTILE: 1}, class_names=names
    )
    trials = make_trials(overrides={HOSTILE: HOSTILE}, error=HOSTILE)
    candidate = Confirmation(number=2, overrides={HOSTILE: HOSTILE}, losses=[1.0, 2.0], errors=[])
    taught = {"importance": {HOSTILE: 1.0}, "confirmed": [candidate.to_dict()]}
    stages = {**whole.stages, "search": whole.stages["search"] | taught}
    hostile = dataclasses.replace(whole, run=run, ref=ref, trials=trials, stages=stages)
    plain, page = ParsedPage(render_page(whole)), ParsedPage(render_page(hostile))
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in plain.elements}
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert len(page.find("img")) == len(plain.find("img"))
    assert len(page.find("script")) == 1
    shown = {"run and version": 3, "dataset": 4, "classes": 10, "a head": 1, "cells": 3}
    assert page.text.count(HOSTILE) >= sum(shown.values())


def test_same_run_same_page(html: str, tmp_path: Path) -> None:
    """Publishing again after a crash finds the same bytes."""
    assert html == render_page(make_findings(tmp_path))


@pytest.mark.parametrize("latent_dim", [1, 2, 3])
def test_latents_of_any_number_have_a_map(tmp_path: Path, latent_dim: int) -> None:
    """Of more than two dimensions by principal components and by neighbours, else as they are."""
    html = render_page(make_findings(tmp_path, latent_dim))
    assert html.count('data-text="image 1: naught"') == (2 if latent_dim > 2 else 1)


def test_one_image_is_enough(tmp_path: Path) -> None:
    """A split of one image has its report too."""
    whole = make_findings(tmp_path)
    assert whole.examples is not None
    one = Examples(whole.examples.images[:1], whole.examples.labels[:1])
    ParsedPage(render_page(dataclasses.replace(whole, examples=one)))


@pytest.mark.slow
def test_noise_in_colour_of_many_latents_stays_within_3_mb(tmp_path: Path) -> None:
    """The worst that there is: pictures that nothing compresses, as many as there can be."""
    shape, latents = (3, 64, 64), 100
    model = build_model(ModelConfig(latent_dim=latents, hidden=(64,)), shape)
    for parameter in model.parameters():
        parameter.data *= 8
    images = draw_images(500, shape)
    drawn = draw_epoch(model, images)
    found = make_findings(
        tmp_path,
        model=model,
        ref=dataclasses.replace(REF, shape=shape),
        examples=Examples(images, (images[:, 0, 0, 0] % 10).long()),
        epochs={
            kind: dict.fromkeys(choose_epochs(500), sheet.picture) for kind, sheet in drawn.items()
        },
        history=[
            {"epoch": epoch, **{f"val/metric_{i}": math.sin(epoch + i) for i in range(8)}}
            | {"val/loss": 1.0 / epoch, "train/loss": 1.0 / epoch}
            for epoch in range(1, 501)
        ],
    )
    assert len(render_page(found).encode()) <= LIMIT_BYTES


def test_time_is_split_without_a_rest(html: str) -> None:
    """Training and evaluating and everything else sum to the stage, and stages to the total."""
    row = split_time("search", {"seconds": 30.5, "compute_s": 21.25})
    assert row["compute"] + row["rest"] == row["total"]
    footer = re.findall(r"<tfoot>.*?</tfoot>", html, re.S)[0]
    assert re.findall(r"number\">([\d.]+)<", footer) == ["77.5", "58.2", "19.2"]


def test_where_training_began_and_what_cut_it_short_is_said(tmp_path: Path) -> None:
    """A version that another run would not make again is known by its page."""
    whole = make_findings(tmp_path)
    assert "Training began with" not in render_page(whole)
    start = Start(name="mnist", version="20260101T000000-before", manifest_sha256="0" * 64)
    run = dataclasses.replace(whole.run, start=start)
    stages = {**whole.stages, "train": whole.stages["train"] | {"history": whole.history[:1]}}
    text = ParsedPage(render_page(dataclasses.replace(whole, run=run, stages=stages))).text
    assert "20260101T000000-before" in text.partition("Metrics")[0]
    assert "cut by its time budget after 1 of 3 epochs" in text
