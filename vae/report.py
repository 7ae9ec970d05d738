"""report.html of a run: one self-contained page, readable anywhere, with no external resource."""

import base64
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from vae import plots
from vae.datasets import DatasetRef
from vae.experiment import Experiment
from vae.runs import Result, Run, flattened

CAPTIONS = {
    "samples": "Samples from the prior (pixel probabilities)",
    "reconstructions": "Test images, each above its reconstruction",
    "interpolation": "From one test image to another, along a line in latent space",
    "latent": "Test images by their posterior means, on the first two principal axes",
}
HEADLINES = {
    "test/nelbo": ("negative ELBO, test", "nats per image"),
    "test/nll": ("-log p(x), importance-weighted bound, test", "nats per image"),
    "test/nll_samples": ("samples K of that bound", ""),
    "test/rate": ("rate, KL(q||p)", "nats per image"),
    "test/distortion": ("distortion, -log p(x|z)", "nats per image"),
    "test/bits_per_dim": ("bits per dimension", "bits"),
    "test/active_units": ("active latent units", ""),
    "val/nelbo": ("negative ELBO, validation (selects)", "nats per image"),
}
LATENT, RATE = "model.latent_dim", "train.learning_rate"


def render(
    run: Run,
    experiment: Experiment,
    ref: DatasetRef,
    stages: dict[str, Result],
    pictures: dict[str, bytes],
) -> str:
    """The page for a run whose stages have finished; `pictures` are PNG by name."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = (resources.files("vae") / "templates" / "report.html.j2").read_text("utf-8")
    metrics, trials = stages["evaluate"]["metrics"], stages["search"]["trials"]
    return environment.from_string(template).render(
        name=experiment.name,
        run_id=run.run_id,
        version=run.version,
        headlines=[(*HEADLINES[key], metrics[key]) for key in HEADLINES if key in metrics],
        pictures=[(CAPTIONS[name], data_uri(png)) for name, png in pictures.items()],
        curves=Markup(plots.training_curves(stages["train"]["history"])),
        best_epoch=stages["train"]["best_epoch"],
        trials=trials,
        best=plots.best_row(trials),
        outcome=plots.outcome,
        trial_plot=Markup(trial_plot(trials)),
        settings=sorted(flattened(experiment.to_dict()).items()),
        dataset=ref,
        times={name: result["time"] for name, result in stages.items()},
    )


def data_uri(png: bytes) -> str:
    """A picture inside the page."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def trial_plot(trials: list[plots.TrialRow]) -> str:
    """Latent size against learning rate as SVG, if both were searched; else nothing."""
    shown = [trial for trial in trials if {LATENT, RATE} <= trial["overrides"].keys()]
    return plots.trial_plot(shown, LATENT, RATE) if shown else ""
