"""What decides a published model, as one digest: the same recipe gives the same weights."""

import json
from collections.abc import Mapping

from vae.experiments.settings import Experiment
from vae.files import hash_bytes
from vae.registry.lineage import Start, choose_start, read_start
from vae.registry.read import find_version_of, read_manifest
from vae.runs.records import Result
from vae.store.promises import Store
from vae.training.fit import VERSION


def hash_recipe(experiment: Experiment, dataset_digest: str, start: Start | None = None) -> str:
    """A digest of the settings, the images, the code of training and the first weights.

    `experiment`: as the run began, before its search. A time budget is none of it: what it cut
    short has no recipe at all.
    """
    settings = experiment.to_dict()
    del settings["time_budget"], settings["search"]["time_budget"]
    recipe = [settings, dataset_digest, VERSION]
    if start:
        recipe.append(start.manifest_sha256)
    return hash_bytes(json.dumps(recipe, sort_keys=True).encode())


def find_published(store: Store, experiment: Experiment, dataset_digest: str) -> str | None:
    """The version that a run begun now would only make again, if there is one.

    Where training would begin with a version that the same experiment made of the same images,
    that version is it: else every night would train a little longer on what it has seen. Raises
    UserError for a version to begin with that is unknown or damaged.
    """
    start = choose_start(store, experiment)
    if start:
        _, manifest = read_manifest(store, start.name, start.version)
        earlier = read_start(manifest.lineage)
        if manifest.recipe == hash_recipe(experiment, dataset_digest, earlier):
            return start.version
    recipe = hash_recipe(experiment, dataset_digest, start)
    return find_version_of(store, experiment.name, recipe)


def find_cut(experiment: Experiment, stages: Mapping[str, Result]) -> str:
    """What a time budget left undone, in a few words; empty if the run did all it was to do.

    `stages`: the results of search and train, among others.
    """
    trials, settled = stages["search"]["trials"], stages["search"].get("settled", False)
    done = {
        # What ended of its own accord, as its best no longer moved, no clock has cut.
        "trials": (len(trials), len(trials) if settled else experiment.search.trials),
        "epochs": (len(stages["train"]["history"]), experiment.train.epochs),
    }
    short = [f"{n} of {asked} {what}" for what, (n, asked) in done.items() if n < asked]
    return f"cut by its time budget after {' and '.join(short)}" if short else ""
