"""The candidate that a search begins with, chosen once and then recorded with the run."""

import logging
from typing import Any

from tuning.design import Candidate
from vae.experiments.table import flatten
from vae.registry.pointers import BEST, read_best
from vae.registry.read import resolve
from vae.runs.records import create_record, read_record
from vae.runs.run import Run

log = logging.getLogger("vae.pipeline")
REDO = "delete it, and the best version so far is the first candidate"


def choose_first(run: Run) -> Candidate | None:
    """The settings of what was the best version when the search began; None: draw the first.

    Raises DamagedRecordError, and IntegrityError for a damaged version.
    """
    if run.experiment.search.first != BEST:
        return None
    key = f"{run.prefix}/search/first.json"
    found = read_record(run.store, key, REDO)
    if found is None:
        found = create_record(run.store, key, describe_best(run), REDO)
    log.info("search   %s", found["told"])
    return found["overrides"] or None


def describe_best(run: Run) -> dict[str, Any]:
    """What is known of the best version's settings, as the run records it."""
    name, search = run.experiment.name, run.experiment.search
    space = search.space
    if read_best(run.store, name)[0] is None:
        return {"overrides": {}, "told": f"{name} has no best version: the first is drawn"}
    _, manifest = resolve(run.store, name, BEST)
    settings = flatten(manifest.experiment)
    values = search.drop_unused({setting: settings.get(setting) for setting in space})
    version = f"{name}@{manifest.version}"
    for setting, value in values.items():
        if not space[setting].contains(value):
            told = f"{version} has {setting} = {value}, which is outside search.space"
            return {"overrides": {}, "told": f"{told}: the first is drawn"}
    return {"overrides": values, "told": f"the first candidate has the settings of {version}"}
