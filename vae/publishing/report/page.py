"""The page: what was found of a run, laid out, in one file that reaches for nothing outside."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vae.data.mapped import Examples
from vae.models.networks import VAE
from vae.publishing.embedding import embed
from vae.publishing.recipe import find_cut
from vae.publishing.report import images
from vae.publishing.report.charts import Chart, draw_lines, draw_training, is_finite
from vae.publishing.report.findings import Findings
from vae.publishing.report.headlines import format_headlines
from vae.publishing.report.latents import draw_kl, draw_maps
from vae.publishing.report.learnt import draw_learnt, list_candidates, tell_winner
from vae.publishing.report.trials import draw_trials, list_settings, show
from vae.publishing.sheets import Sheet, encode_within
from vae.registry.promote import METRIC
from vae.registry.publish import list_packages
from vae.runs.trials import find_best
from vae.training.checkpoints import find_best_epoch

PICTURE_BYTES = 1_900_000  # of all pictures; as text in the page they take a third more


@dataclass
class Drawn:
    """What was drawn with the model: sheets by name, charts, and what their rows are."""

    sheets: dict[str, Sheet] = field(default_factory=dict)
    maps: list[Chart] = field(default_factory=list)
    kl: Chart | None = None
    pairs: list[str] = field(default_factory=list)
    latents: list[str] = field(default_factory=list)


def render_page(found: Findings) -> str:
    """The page of a run, the same text for the same findings; at most 3 MB."""
    names = name_classes(found)
    drawn = Drawn()
    if found.model is not None and found.examples is not None:
        drawn = draw_model(found.model, found.examples, names)
    epochs = {
        f"{kind} {epoch}": Sheet(picture, 1, 1)
        for kind, pictures in found.epochs.items()
        for epoch, picture in pictures.items()
    }
    encoded = encode_within(drawn.sheets | epochs, PICTURE_BYTES)
    environment = Environment(
        loader=PackageLoader("vae.publishing.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script, style = (read_part(name) for name in ("page.js", "page.css"))
    return environment.get_template("page.html.j2").render(
        script=Markup(script),
        style=Markup(style),
        policy=f"default-src 'none'; img-src data:; style-src '{hash_source(style)}'; "
        f"script-src '{hash_source(script)}'",
        found=found,
        drawn=drawn,
        uris={name: embed(data, "webp") for name, data in encoded.items()},
        class_names=names,
        values=[f"{value:g}" for value in images.list_values()],
        steps=list_steps(),
        is_finite=is_finite,
        show=show,
        **tell_results(found),
    )


def tell_results(found: Findings) -> dict[str, Any]:
    """What the records say: figures, charts and rows."""
    metrics = found.stages["evaluate"]["metrics"] if "evaluate" in found.stages else {}
    return {
        "start": found.run.start,
        "cut": "" if found.missing else find_cut(found.run.experiment, found.stages),
        "headlines": format_headlines(metrics, found.experiment.model) if metrics else [],
        "curves": draw_training(found.history) if found.history else [],
        "best_epoch": find_best_epoch(found.history) if found.history else None,
        **tell_search(found),
        "settings": found.experiment.to_dict(),
        "times": [split_time(stage, result["time"]) for stage, result in found.stages.items()],
        "packages": list_packages(),
        "version_charts": draw_versions(found, metrics),
    }


def tell_search(found: Findings) -> dict[str, Any]:
    """What was tried, and what it taught once the search has ended."""
    result = found.stages.get("search", {"importance": {}, "confirmed": []})
    importance, confirmed = result["importance"], result["confirmed"]
    learnt = draw_learnt(found.trials, importance, confirmed) if found.trials else []
    return {
        "searched": [*draw_trials(found.trials), *learnt] if found.trials else [],
        "searched_settings": list_settings(found.trials),
        "best_trial": find_best(found.trials),
        "winner": tell_winner(confirmed),
        "candidates": list_candidates(confirmed),
    }


def draw_model(model: VAE, examples: Examples, names: list[str]) -> Drawn:
    """Everything that takes the model, with the examples' images."""
    shown = examples.images
    latents = images.measure_latents(model, shown)
    traversed = images.choose_traversed(latents)
    sheets = {
        "samples": images.draw_samples(model),
        "reconstructions": images.draw_reconstructions(model, shown),
        "traversal": images.traverse(model, shown[0], traversed),
        "thumbnails": images.draw_thumbnails(shown),
    }
    pairs: list[str] = []
    if len(shown) > 1:
        sheets["interpolation"], ends = images.interpolate(model, examples)
        pairs = [f"{names[a]} to {names[b]}" for a, b in ends]
    return Drawn(
        sheets=sheets,
        maps=draw_maps(model, examples, names),
        kl=draw_kl(latents),
        pairs=pairs,
        latents=[f"z{latent.number}, KL {latent.kl:.2f} nats" for latent in traversed],
    )


def list_steps() -> list[str]:
    """What the columns of an interpolation are."""
    inner = [f"{i / (images.STEPS - 1):.0%} of the way" for i in range(images.STEPS)]
    return ["the first image", *inner, "the second image"]


def name_classes(found: Findings) -> list[str]:
    """The dataset's class names in order of label; without any, their numbers."""
    if found.ref is None:
        return []
    return list(found.ref.class_names) or [str(label) for label in range(found.ref.classes)]


def draw_versions(found: Findings, metrics: Mapping[str, float]) -> list[Chart]:
    """Each of the figures that versions compare by, over this model's versions of the dataset."""
    every = [(one.version, one.metrics) for one in found.versions]
    every += [(found.run.version, metrics)] if metrics else []
    every.sort()
    if len(every) < 2:
        return []
    charts = []
    for name in (METRIC, "test/rate", "test/active_units"):
        measured = [
            (float(i), known[name]) for i, (_, known) in enumerate(every, 1) if name in known
        ]
        chart = draw_lines(name, {name: measured}, "version", ["blue"])
        texts = [f"{version}: {known[name]:.5g}" for version, known in every if name in known]
        chart.lines[0].texts[:] = texts
        charts.append(chart)
    return charts


def split_time(stage: str, time: Mapping[str, float]) -> dict[str, Any]:
    """A stage's seconds, split into training and evaluating and the rest."""
    total_s, compute_s = time["seconds"], time["compute_s"]
    return {"stage": stage, "total": total_s, "compute": compute_s, "rest": total_s - compute_s}


def read_part(name: str) -> str:
    """The page's script or style, as it is put into the page."""
    return (resources.files("vae.publishing.report") / name).read_text("utf-8")


def hash_source(text: str) -> str:
    """By what a content security policy knows an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
