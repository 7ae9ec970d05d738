"""report.html of a run: one self-contained page, readable anywhere, with no external resource."""

import base64
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from vae.data.datasets import DatasetRef
from vae.evaluation.bounds import VALIDATION_SAMPLES
from vae.experiments.settings import Experiment, ModelConfig
from vae.publishing import plots
from vae.publishing.recipe import find_cut
from vae.registry.publish import list_packages
from vae.runs.records import Result
from vae.runs.run import Run
from vae.runs.trials import Trial, find_best

CAPTIONS = {
    "samples": "Samples from the prior, each as the picture that it expects",
    "reconstructions": "Test images, each above its reconstruction from the posterior mean",
    "interpolation": "Along a line in latent space, between the real test images at both ends",
    "latent": "Posterior means of test images; colour and number are the label",
}
HEADLINES = {  # what it is, how its value reads, its unit
    "test/nelbo": ("negative ELBO, test", "{value:.2f}", "nats per image"),
    "test/nll": ("-log p(x), test", "≤ {value:.2f}", "nats per image, K = {samples:.0f}"),
    "test/rate": ("rate, KL(q‖p)", "{value:.2f}", "nats per image"),
    "test/distortion": ("distortion, -log p(x|z)", "{value:.2f}", "nats per image"),
    "test/active_units": ("active units", "{value:.0f}", "of {latent_dim} latents"),
    "val/nll": (
        "-log p(x), validation",
        "≤ {value:.2f}",
        f"nats per image, K = {VALIDATION_SAMPLES}, decides which version is best",
    ),
}
BITS = {"test/bits_per_dim": ("importance-weighted bound", "{value:.4f}", "bits per dimension")}
QUALITY = {  # the same, of what is measured only where the dataset has labels
    "test/frechet_samples": ("Fréchet distance, samples", "{value:.2f}", "to test images"),
    "test/frechet_reconstructions": (
        "Fréchet distance, reconstructions",
        "{value:.2f}",
        "to test images",
    ),
    "test/frechet_floor": ("Fréchet distance, training images", "{value:.2f}", "the noise floor"),
    "test/probe_accuracy": ("linear probe of the latents", "{value:.2%}", "of test labels right"),
}
LATENT, RATE = "model.latent_dim", "train.learning_rate"


def render(
    run: Run,
    experiment: Experiment,
    ref: DatasetRef,
    stages: Mapping[str, Result],
    pictures: Mapping[str, bytes],
) -> str:
    """Return the page for a run whose stages have finished, the same text for the same arguments.

    `experiment`: with the settings that won. `stages`: the results of data, search, train and
    evaluate. `pictures`: PNG by name, of CAPTIONS.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = (resources.files("vae.publishing") / "report.html.j2").read_text("utf-8")
    trials = [Trial.from_dict(plain) for plain in stages["search"]["trials"]]
    return environment.from_string(template).render(
        name=experiment.name,
        run_id=run.run_id,
        version=run.version,
        start=run.start,
        cut=find_cut(run.experiment, stages),
        headlines=format_headlines(stages["evaluate"]["metrics"], experiment.model),
        pictures=[(CAPTIONS[name], embed_png(png)) for name, png in pictures.items()],
        curves=Markup(plots.plot_training(stages["train"]["history"])),
        best_epoch=stages["train"]["best_epoch"],
        trials=trials,
        best=find_best(trials),
        is_finite=plots.is_finite,
        trial_plot=Markup(plot_search(trials)),
        settings=experiment.to_dict(),
        dataset=ref,
        times=[split_time(stage, result["time"]) for stage, result in stages.items()],
        versions=list_packages(),
    )


def format_headlines(
    metrics: Mapping[str, float], model: ModelConfig
) -> list[tuple[str, str, str]]:
    """What was measured as (label, value, unit): bits of 256 levels first, then HEADLINES, QUALITY.

    Of other pixels bits come after the headlines, and of a density there are none.
    """
    texts = (BITS | HEADLINES if model.has_levels else HEADLINES | BITS) | QUALITY
    known = {"samples": metrics["test/nll_samples"], "latent_dim": model.latent_dim}
    return [
        (label, form.format(value=metrics[name]), unit.format(**known))
        for name, (label, form, unit) in texts.items()
        if name in HEADLINES or name in metrics
    ]


def embed_png(png: bytes) -> str:
    """A picture inside the page."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def plot_search(trials: Sequence[Trial]) -> str:
    """Latent size against learning rate as SVG, if both were searched; else nothing."""
    shown = [trial for trial in trials if {LATENT, RATE} <= trial.overrides.keys()]
    return plots.plot_trials(shown, LATENT, RATE) if shown else ""


def split_time(stage: str, time: Mapping[str, float]) -> dict[str, Any]:
    """A stage's seconds, split into training and evaluating and the rest."""
    total_s, compute_s = time["seconds"], time["compute_s"]
    return {"stage": stage, "total": total_s, "compute": compute_s, "rest": total_s - compute_s}
