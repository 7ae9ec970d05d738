"""What W&B is told of a run: what it is called, what it ran with, what it used and made."""

import logging
import re
from collections.abc import Mapping
from typing import Any

from flows.ending import format_command
from vae.data.datasets import DatasetRef
from vae.errors import UserError, extract_message
from vae.experiments.loading import apply_overrides, parse_experiment
from vae.experiments.settings import Experiment
from vae.publishing.publication import Publication
from vae.registry.provenance import read_branch, read_revision
from vae.runs.confirmations import measure_gain
from vae.runs.run import Run
from vae.tracking.values import Label, Picture, Reference, Value

log = logging.getLogger("vae.pipeline")
TAG_LENGTH = 64  # W&B refuses a run with a longer one, such as a branch may be
NOT_OF_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")  # of a W&B artifact
PICTURE = re.compile(r"epoch-(?P<epoch>[0-9]+)-(?P<kind>[a-z]+)\.png")


def describe_label(run: Run, job: str, trial: int | None = None) -> Label:
    """What a W&B run of this run is called; its id is the same in every attempt.

    Ids are of one W&B project, run ids of one store: the version begins with the time as well.
    """
    part = job if trial is None else f"trial-{trial:02d}"
    tags = (run.experiment.name, job, read_branch())
    return Label(
        run_id=f"{run.version}-{part}",
        job_type=job,
        name=f"{run.run_id} {part}",
        tags=tuple(tag[:TAG_LENGTH] for tag in tags if tag),
        notes=format_command("publish", run.run_id, run.store.uri),
    )


def describe_config(run: Run, experiment: Experiment, ref: DatasetRef) -> dict[str, Any]:
    """Every setting a W&B run ran with, as the experiment nests them, and where it belongs."""
    return experiment.to_dict() | {
        "run_id": run.run_id,
        "version": run.version,
        "revision": read_revision(),
        "dataset": ref.key,
        "dataset_digest": ref.digest,
    }


def apply_trial(experiment: Experiment, overrides: Mapping[str, Any]) -> Experiment:
    """The experiment that a trial of its search trains, the search's epochs included."""
    tuned = dict(overrides) | {"train.epochs": experiment.search.epochs}
    return parse_experiment(apply_overrides(experiment.to_dict(), tuned))


def describe_search(result: Mapping[str, Any]) -> dict[str, float]:
    """What a search taught, as a summary: shares of importance, means and standard deviations.

    `gain` is the winner's over the experiment's own settings, those of no trial being `own`.

    Names have no dots, which W&B would take for parts of a path. `result`: of the search stage.
    """
    told = {
        f"importance/{name.replace('.', '/')}": share
        for name, share in result["importance"].items()
    }
    for one in result["confirmed"]:
        known = {key: one[key] for key in ("mean", "spread") if one[key] is not None}
        part = f"trial-{one['number']:02d}" if one["number"] else "own"
        told |= {f"confirmed/{part}/{key}": known[key] for key in known}
    if gain := measure_gain(result["confirmed"]):
        told |= {"confirmed/gain/mean": gain.mean, "confirmed/gain/spread": gain.spread}
    return told


def refer_to_dataset(ref: DatasetRef, store_uri: str) -> Reference:
    """The dataset as an artifact, in the store."""
    facts = {"digest": ref.digest, "shape": list(ref.shape), "counts": ref.counts}
    uri = f"{store_uri}/{ref.key}"
    return Reference(to_name(ref.name), "dataset", uri, ref.files, facts)


def refer_to_model(name: str, published: Publication, metrics: Mapping[str, float]) -> Reference:
    """The version as an artifact, in the store; W&B moves `best` to it with its alias."""
    aliases = ["best"] if published.promotion.best else []
    facts = {**metrics, "version": published.version}
    return Reference(to_name(name), "model", published.uri, published.files, facts, aliases)


def to_name(text: str) -> str:
    """A name that W&B takes for an artifact."""
    return NOT_OF_A_NAME.sub("-", text)


def read_epoch_pictures(run: Run, epoch: int) -> dict[str, Value]:
    """The pictures that the training left after an epoch, if any, each under its own key.

    Those that can't be read are a warning.
    """
    try:
        with run.store.explain_errors():
            keys = run.store.list(f"{run.prefix}/pictures")
            kinds = {key: find_kind(key, epoch) for key in keys}
            return {
                f"pictures/{kind}": Picture(run.store.read(key), f"epoch {epoch}")
                for key, kind in kinds.items()
                if kind
            }
    except (UserError, OSError) as error:
        told = "the pictures of epoch %d are not shown in W&B: %s"
        log.warning(told, epoch, extract_message(error))
        return {}


def find_kind(key: str, epoch: int) -> str:
    """What a picture in the store shows, if it is of that epoch; else nothing."""
    found = PICTURE.fullmatch(key.rpartition("/")[2])
    return found["kind"] if found and int(found["epoch"]) == epoch else ""
