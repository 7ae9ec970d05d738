"""A finished run becomes a published version: its files in one folder, then the registry."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save

from vae.data.binarization import prepare_inputs
from vae.data.datasets import DatasetRef
from vae.data.mapped import Examples, open_rows, read_examples
from vae.errors import EndedRunError, UserError
from vae.evaluation.baseline import measure_independent_pixels
from vae.experiments.settings import Experiment
from vae.models.levels import count_at_once
from vae.models.networks import VAE
from vae.models.saved_model import save_model
from vae.publishing import pictures
from vae.publishing.card import CARD, write_card
from vae.publishing.recipe import find_cut, hash_recipe
from vae.publishing.report.findings import gather_findings
from vae.publishing.report.page import render_page
from vae.registry.manifest import METRICS
from vae.registry.promote import METRIC, JudgeAgain, Promotion, name_metric, promote, refuse
from vae.registry.provenance import describe_origin
from vae.registry.publish import Origin, publish
from vae.runs.records import Result
from vae.runs.run import Run
from vae.scratch import open_temporary
from vae.store.promises import Store

EXAMPLES = 1000  # test images kept beside the model, so that its pictures need no dataset
FEWEST_EXAMPLES = 100  # of images so large that a thousand of them would be most of a version


@dataclass(frozen=True)
class Publication:
    """What was published, and how it fared against the best of its name."""

    version: str
    uri: str
    promotion: Promotion
    pictures: dict[str, bytes]  # PNG, by name
    files: dict[str, str]  # sha256 by name
    notes: tuple[str, ...]  # whose weights it began with, and what cut it short


def publish_run(
    run: Run,
    experiment: Experiment,
    ref: DatasetRef,
    model: VAE,
    stages: dict[str, Result],
    judge_again: JudgeAgain | None = None,
) -> Publication:
    """Publish the model with metrics, pictures, report and examples; promote it if it is better.

    `experiment`: with the settings that won. `stages`: the result of every earlier stage.
    `judge_again`: as `promote` takes it. Doing it again completes what a crash left, under the same
    version. Raises UserError, also for a metric that is not finite.
    """
    metrics = stages["evaluate"]["metrics"]
    check_finite(metrics)
    kept = max(FEWEST_EXAMPLES, count_at_once(ref.shape, EXAMPLES))
    examples = read_examples(ref, run.store, "test", kept)
    pictures = draw_pictures(model, examples)
    report = render_page(gather_findings(run, model))
    card = write_card(experiment, ref, metrics, run.version)
    texts = {METRICS: json.dumps(metrics, indent=2) + "\n", "report.html": report, CARD: card}
    with open_temporary("publish") as name:
        folder = Path(name)
        fill_folder(folder, model, examples, pictures, texts)
        origin = trace_origin(run, experiment, ref, stages)
        manifest = publish(run.store, experiment.name, run.version, folder, origin)
    promotion = promote_if_usable(run, experiment, ref, metrics, judge_again)
    uri = f"{run.store.uri}/models/{experiment.name}/versions/{manifest.version}"
    digests = {name: record.sha256 for name, record in manifest.files.items()}
    return Publication(manifest.version, uri, promotion, pictures, digests, manifest.notes)


def fill_folder(
    folder: Path,
    model: VAE,
    examples: Examples,
    pictures: Mapping[str, bytes],
    texts: Mapping[str, str],
) -> None:
    """Write the files of a version. Raises UserError where that can't be done."""
    try:
        save_model(model, folder)
        save_examples(examples, folder)
        for picture, png in pictures.items():
            (folder / f"{picture}.png").write_bytes(png)
        for file, text in texts.items():
            (folder / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"temporary folder {folder}: {error.strerror}; make room in it, or name another in "
            "TMPDIR"
        ) from error


def trace_origin(
    run: Run, experiment: Experiment, ref: DatasetRef, stages: dict[str, Result]
) -> Origin:
    """Where the run's version comes from; what a time budget cut short has no recipe."""
    cut = find_cut(run.experiment, stages)
    return Origin(
        run_id=run.run_id,
        dataset=ref.digest,
        experiment=experiment.to_dict(),
        recipe="" if cut else hash_recipe(run.experiment, ref.digest, run.start),
        start=run.start,
        cut=cut,
        made=describe_origin(
            workers=stages["train"].get("workers"),
            seconds=sum(stage["time"]["seconds"] for stage in stages.values()),
        ),
    )


def promote_if_usable(
    run: Run,
    experiment: Experiment,
    ref: DatasetRef,
    metrics: dict[str, float],
    judge_again: JudgeAgain | None,
) -> Promotion:
    """Promote the run's version if it is better than the best, unless it has learnt nothing."""
    flaw = find_flaw(metrics, ref, experiment, run.store)
    if flaw:
        return refuse(experiment.name, run.version, flaw, metrics[METRIC])
    return promote(
        run.store,
        experiment.name,
        run.version,
        metrics[METRIC],
        metric=name_metric(experiment.to_dict()),
        judge_again=judge_again,
    )


def find_flaw(
    metrics: dict[str, float], ref: DatasetRef, experiment: Experiment, store: Store
) -> str:
    """Why nobody could use the model, in one line; empty if it has learnt something."""
    if metrics["test/active_units"] == 0:
        return "its posterior has collapsed: no latent tells anything of an image"
    train, val = (open_rows(ref, store, split) for split in ("train", "val"))
    naive = measure_independent_pixels(
        train, prepare_inputs(val, experiment.data), experiment.model
    )
    if metrics[METRIC] >= naive:
        return (
            f"its {METRIC} is {metrics[METRIC]:.2f} nats, no better than the {naive:.2f} of "
            "independent pixels"
        )
    return ""


def check_finite(metrics: dict[str, float]) -> None:
    """Raise UserError for a metric by which nobody could compare the model."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise EndedRunError(
                f"{name} is {value}: a model is published with finite metrics alone"
            )


def save_examples(examples: Examples, directory: Path) -> None:
    """Write examples.safetensors: images and labels, for the pictures of a pulled model."""
    tensors = {"images": examples.images, "labels": examples.labels}
    (directory / "examples.safetensors").write_bytes(save(tensors))


def draw_pictures(model: VAE, examples: Examples) -> dict[str, bytes]:
    """The four pictures of a version, PNG by name."""
    images, labels = examples
    return {
        "samples": pictures.draw_samples(model),
        "reconstructions": pictures.draw_reconstructions(model, images),
        "interpolation": pictures.draw_interpolation(model, images, labels),
        "latent": pictures.draw_latents(model, images, labels),
    }
