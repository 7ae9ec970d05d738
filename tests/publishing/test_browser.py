"""The report as a browser shows it: on a phone and a desk, by keyboard, in the dark, on paper."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support.browser import Reader, open_browser
from tests.support.findings import HISTORY, SEARCHED, make_findings, make_trials
from vae.publishing.report.page import render_page

pytestmark = pytest.mark.slow
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
BACKGROUND = "e => getComputedStyle(e).backgroundColor"
CUT_OFF = """texts => texts.filter(text => {
    const {x, y, width, height} = text.getBBox(), all = text.ownerSVGElement.viewBox.baseVal;
    return x < 0 || y < 0 || x + width > all.width || y + height > all.height;
}).map(text => text.textContent)"""
ODD = {"train/learning_rate": 0.00034685, "val/below": -123456.789, "val/far": 2.5e-11}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    path = folder / "report.html"
    path.write_text(render_page(make_findings(folder)), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_window_scrolls_sideways(browser: Browser, report: Path, width: int) -> None:
    """Nor is a word said on the console, or anything asked for but the file."""
    reader = Reader(browser, report, width)
    assert reader.page.evaluate(OVERFLOW) == 0
    assert reader.said == []
    assert reader.asked == [report.as_uri()]


def test_no_label_is_cut_off(browser: Browser, tmp_path: Path) -> None:
    """One tick of many digits, less than nothing, thousands of epochs, a setting's long name."""
    history = [row | ODD | {"epoch": row["epoch"] * 1000} for row in HISTORY]
    trials = make_trials(overrides=SEARCHED | {"train.checkpoint_minutes_or_so": 5})
    path = tmp_path / "report.html"
    path.write_text(render_page(make_findings(tmp_path, history=history, trials=trials)))
    page = Reader(browser, path, 390).page
    told = page.locator("svg text").all_text_contents()
    assert {"0.00034685", "-1.2346e+05", "3000"} <= {*told}
    assert page.locator("svg text").evaluate_all(CUT_OFF) == []


def test_sliders_are_reached_and_moved_by_keyboard(browser: Browser, report: Path) -> None:
    """Over the epochs another picture is shown, along a walk another cell; its value is said."""
    reader = Reader(browser, report, 390)
    page = reader.page
    assert reader.focus(".frames input") == "Over the epochs"
    frames = page.locator(".frames").first
    shown = frames.locator("img:visible")
    assert shown.get_attribute("data-name") == "epoch 3, the best"
    reader.press("ArrowLeft", 2)
    assert shown.get_attribute("data-name") == "epoch 1"
    assert frames.locator("output").text_content() == "epoch 1"
    walk = page.locator(".sheet").nth(1)
    assert reader.focus(".sheet:nth-of-type(4) input") == "Value"
    before = walk.locator(".tile img").get_attribute("style")
    reader.press("End")
    assert walk.locator("output").text_content() == "3"
    assert walk.locator(".tile img").get_attribute("style") != before
    assert reader.said == []


def test_charts_say_exact_values(browser: Browser, report: Path) -> None:
    """By arrow keys and under the pointer."""
    reader = Reader(browser, report, 1280)
    label = reader.focus("#training ~ .grid svg")
    assert label.startswith("loss (nats per image) over epoch: val/loss 46.667 at the end")
    chart = reader.page.locator("#training ~ .grid .chart").first
    reader.press("ArrowRight")
    assert chart.locator("output").text_content() == "epoch 2, val/loss: 70"
    box = chart.locator("svg").bounding_box()
    assert box is not None
    reader.page.mouse.move(box["x"] + box["width"] - 12, box["y"] + box["height"] / 2)
    assert "epoch 3" in str(chart.locator("output").text_content())


def test_maps_show_the_image_that_is_pointed_at(browser: Browser, report: Path) -> None:
    """Both maps tell the same image, named by its class, and the picture is seen."""
    reader = Reader(browser, report, 1280)
    reader.focus(".map svg")
    reader.press("ArrowRight", 5)
    said = reader.page.locator(".map output").all_text_contents()
    assert len(said) == 2
    assert said[0] == said[1] == "image 12: one"
    assert reader.page.locator(".maps > .tile img").is_visible()


def test_a_table_is_sorted_by_its_heads(browser: Browser, report: Path) -> None:
    """Once upwards, again downwards; those without a loss are the last upwards."""
    reader = Reader(browser, report, 1280)
    losses = reader.page.locator("table.sortable td:nth-child(4)")
    button = reader.page.get_by_role("button", name="validation loss")
    button.press("Enter")
    assert losses.all_text_contents() == ["104.50", "110.00", "none"]
    button.press("Enter")
    assert losses.all_text_contents() == ["none", "110.00", "104.50"]


def test_dark_is_dark_throughout_and_paper_is_white(browser: Browser, report: Path) -> None:
    """No map or chart brings a ground of its own; printed, no control is left."""
    page = Reader(browser, report, 1280, "dark").page
    assert page.locator("body").evaluate(BACKGROUND) == "rgb(19, 20, 22)"
    grounds = page.locator("figure, svg").evaluate_all(f"all => all.map({BACKGROUND})")
    assert set(grounds) == {"rgba(0, 0, 0, 0)"}
    page.emulate_media(media="print")
    assert page.locator("body").evaluate(BACKGROUND) == "rgb(255, 255, 255)"
    assert page.locator(".control:visible").count() == 0
    assert page.locator(".frames img:visible").count() == 2
