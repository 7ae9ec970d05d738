"""What a run has left so far, gathered from the store: all of it, whether it has ended or not."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from vae.data.datasets import DatasetRef
from vae.data.mapped import Examples, read_examples
from vae.experiments.loading import apply_overrides, parse_experiment
from vae.experiments.settings import Experiment
from vae.models import load_model
from vae.models.levels import count_at_once
from vae.models.networks import VAE
from vae.publishing.epochs import read_pictures
from vae.registry.manifest import IntegrityError, NoVersionError
from vae.registry.names import find_manifests, locate_model
from vae.registry.promote import name_metric
from vae.registry.pull import pull
from vae.registry.read import read_manifest, read_metrics
from vae.runs.records import Result, read_record
from vae.runs.run import REDO, Run
from vae.runs.trials import Trial
from vae.scratch import open_temporary
from vae.training import checkpoints
from vae.training.checkpoints import History
from vae.training.fit import restore_averaged

STAGES = ("data", "search", "train", "evaluate")  # what a report tells of
EXAMPLES = 500  # images that it shows at most; fewer of large ones
VERSIONS = 30  # the newest of the model, beside which it stands


class PublishedVersion(NamedTuple):
    """Another version of the model, whose bounds compare with the run's."""

    version: str
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What there is of a run; what there is not yet is None or empty."""

    run: Run
    experiment: Experiment  # with the settings that won, once they are known
    stages: Mapping[str, Result]  # those that have ended, in order
    ref: DatasetRef | None
    trials: list[Trial]
    history: History
    model: VAE | None  # of the best epoch so far
    examples: Examples | None
    kind: str  # of images that the examples are: test or validation
    epochs: Mapping[str, Mapping[int, Image.Image]]  # pictures by kind and epoch
    versions: list[PublishedVersion]

    @property
    def missing(self) -> list[str]:
        """The stages that have not ended."""
        return [stage for stage in STAGES if stage not in self.stages]


def gather_findings(run: Run, model: VAE | None = None) -> Findings:
    """All that the store has of a run. `model`: that of the best epoch, if it is at hand.

    Examples are test images once those have been judged, before that validation images: nothing is
    read of the test split while something is still to be chosen. Raises UserError for what is
    damaged.
    """
    results = {stage: run.read_result(stage) for stage in STAGES}
    stages = {stage: result for stage, result in results.items() if result is not None}
    overrides = stages["search"]["overrides"] if "search" in stages else {}
    experiment = parse_experiment(apply_overrides(run.experiment.to_dict(), overrides))
    ref = DatasetRef.from_json(stages["data"]["dataset"]) if "data" in stages else None
    history = read_history(run, stages)
    if model is None and ref is not None and "search" in stages:
        model = read_model(run, experiment, ref, history)
    split = "test" if "evaluate" in stages else "val"
    return Findings(
        run=run,
        experiment=experiment,
        stages=stages,
        ref=ref,
        trials=read_trials(run, stages),
        history=history,
        model=model,
        examples=None
        if ref is None
        else read_examples(ref, run.store, split, count_at_once(ref.shape, EXAMPLES)),
        kind="test" if "evaluate" in stages else "validation",
        epochs=read_pictures(run.store, f"{run.prefix}/pictures"),
        versions=[] if ref is None else read_versions(run, experiment, ref),
    )


def read_history(run: Run, stages: Mapping[str, Result]) -> History:
    """The metrics of every epoch that has ended and is in the store."""
    if "train" in stages:
        history: History = stages["train"]["history"]
        return history
    content = checkpoints.read_latest(run.store, f"{run.prefix}/checkpoints")
    return content["history"] if content else []


def read_trials(run: Run, stages: Mapping[str, Result]) -> list[Trial]:
    """The trials that have ended, by number. Raises DamagedRecordError."""
    if "search" in stages:
        return [Trial.from_dict(plain) for plain in stages["search"]["trials"]]
    folder = f"{run.prefix}/search"
    keys = [key for key in run.store.list(folder) if key.startswith(f"{folder}/trial-")]
    records = (read_record(run.store, key, REDO) for key in keys)
    trials = [Trial.from_dict(plain) for plain in records if plain is not None]
    return sorted(trials, key=lambda trial: trial.number)


def read_model(run: Run, experiment: Experiment, ref: DatasetRef, history: History) -> VAE | None:
    """The model of the best epoch so far: from its checkpoint, or the version it became.

    None before the first epoch, and once neither is there any more.
    """
    if not history:
        return None
    content = checkpoints.read_best(run.store, f"{run.prefix}/checkpoints", history)
    if content is not None:
        return restore_averaged(content, experiment, ref.shape)
    if run.read_result("publish") is None:
        return None
    with open_temporary("report") as folder, suppress(NoVersionError):  # it was deleted since
        pull(run.store, experiment.name, run.version, Path(folder) / "model")
        return load_model(Path(folder) / "model")
    return None


def read_versions(run: Run, experiment: Experiment, ref: DatasetRef) -> list[PublishedVersion]:
    """The other versions of this model among the newest whose bounds compare, oldest first.

    They are of the same dataset, binarisation and likelihood. Those that are damaged, which `vae
    list` names, or deleted just now are left out.
    """
    name, store = run.experiment.name, run.store
    names = sorted(version for _, version in find_manifests(store, locate_model(name)))
    comparable = (ref.digest, name_metric(experiment.to_dict()))
    found = []
    for version in [one for one in names if one != run.version][-VERSIONS:]:
        try:
            manifest = read_manifest(store, name, version)[1]
            if (manifest.dataset, name_metric(manifest.experiment)) == comparable:
                found.append(PublishedVersion(version, read_metrics(store, name, version)))
        except (IntegrityError, NoVersionError):
            continue
    return found
