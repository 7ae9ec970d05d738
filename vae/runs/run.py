"""A run: an experiment under an id, and the results of its stages in the store.

Every stage writes its result once and looks for it first, so running the same id again does only
what is missing: after a crash, after a retry, on another machine, or twice at once.
"""

import re
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from vae.data.datasets import locate
from vae.errors import UserError, suggest
from vae.experiments.loading import parse_experiment
from vae.experiments.settings import Experiment
from vae.experiments.table import flatten
from vae.registry.lineage import Start, choose_start, read_start
from vae.runs.records import Result, create_record, parse_record, read_record, replace_record
from vae.store.promises import Conflict, Store

RUN_ID_LENGTH = 84  # with the time of its beginning before it, still the name of a version
RUN_ID = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{RUN_ID_LENGTH - 1}}}")
EXPERIMENT = "experiment.json"  # what makes a folder a run
AT_WORK = "at-work.json"  # written whenever somebody begins or continues it
REDO = "delete it, and the stage is done again"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the pipeline; everything it writes before publishing is below `prefix`."""

    run_id: str
    experiment: Experiment
    created: datetime
    store: Store
    start: Start | None = None  # the version whose weights its training begins with

    @property
    def prefix(self) -> str:
        """Where this run's results and checkpoints are in the store."""
        return f"runs/{self.run_id}"

    @property
    def version(self) -> str:
        """The version this run publishes: fixed by the run, sorted by the time it began."""
        return f"{self.created:%Y%m%dT%H%M%S}-{self.run_id}"

    def read_result(self, stage: str) -> Result | None:
        """What a stage has written, or None if it has not finished. Raises DamagedRecordError."""
        return read_record(self.store, f"{self.prefix}/{stage}.json", REDO)

    def record(self, stage: str, result: Result) -> Result:
        """Write a stage's result once; return it, or the one that was there first."""
        return create_record(self.store, f"{self.prefix}/{stage}.json", result, REDO)


def open_run(store: Store, run_id: str, experiment: Experiment | None = None) -> Run:
    """Begin a run, or continue it under the settings it began with.

    Raises UserError for an id that can't be one, a dataset that is not there, an unknown id with no
    experiment to begin it with, a version to begin training with that is unknown or damaged,
    settings that differ from those the run began with, and a run that a version of this package
    with other settings began. More trials of its search are no other settings until its winner is
    trained: see `grow_search`.
    """
    if experiment is not None:
        experiment = replace(experiment, data=locate(experiment.data))
    if not RUN_ID.fullmatch(run_id):
        raise UserError(
            f"run id {run_id!r} must be letters, digits, '.', '_' or '-', "
            f"at most {RUN_ID_LENGTH} of them"
        )
    began = read_or_begin(store, run_id, experiment)
    began_with = parse_experiment(began["experiment"])
    if began_with.to_dict() != began["experiment"]:  # what it lacks, defaults would have filled
        raise UserError(
            f"run '{run_id}' was begun by another version of this package, which had other "
            "settings: begin a new run"
        )
    if experiment is not None:
        if experiment.search.trials > began_with.search.trials:
            began = grow_search(store, run_id, experiment.to_dict())
            began_with = parse_experiment(began["experiment"])
        refuse_other_settings(run_id, began["experiment"], experiment.to_dict())
    return Run(
        run_id=run_id,
        experiment=began_with,
        created=datetime.fromisoformat(began["created"]),
        store=store,
        start=read_start(began["lineage"]),
    )


def read_or_begin(store: Store, run_id: str, experiment: Experiment | None) -> Result:
    """The record that a run began with, written now if there is none. Raises UserError."""
    key = f"runs/{run_id}/{EXPERIMENT}"
    began = read_record(store, key, "begin a new run")
    if began is not None:
        return began
    if experiment is None:
        raise UserError(f"unknown run '{run_id}'{suggest(run_id, list_runs(store))}")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    start = choose_start(store, experiment)  # now: a later best must not change the run
    lineage = start.to_lineage() if start else {}
    first = {"experiment": experiment.to_dict(), "created": now, "lineage": lineage}
    return create_record(store, key, first, "begin a new run")


def grow_search(store: Store, run_id: str, given: Result) -> Result:
    """Give a run as many trials as the given experiment has; the record it goes on with.

    The trials stay, and what the search came to is forgotten, to be told of them all. Raises
    UserError if anything else differs, the winner's training has begun, or another process changes
    the run just then.
    """
    key = f"runs/{run_id}/{EXPERIMENT}"
    data, token = store.read_token(key)
    began = parse_record(data, f"{store.uri}/{key}", "begin a new run")
    trials = began["experiment"]["search"]["trials"]
    if given["search"]["trials"] <= trials:  # another process was faster
        return began
    search = began["experiment"]["search"] | {"trials": given["search"]["trials"]}
    grown = began | {"experiment": began["experiment"] | {"search": search}}
    refuse_other_settings(run_id, grown["experiment"], given)
    later = (f"runs/{run_id}/train.json", f"runs/{run_id}/checkpoints")
    if store.exists(later[0]) or store.list(later[1]):
        raise UserError(
            f"run '{run_id}' trains the winner of its {trials} trials, given search.trials = "
            f"{given['search']['trials']}: leave the settings out to continue it, or take another "
            "--run-id"
        )
    store.delete(f"runs/{run_id}/search.json")
    try:
        replace_record(store, key, grown, token)
    except Conflict:
        raise UserError(f"run '{run_id}' is being changed by another process: try again") from None
    return grown


def mark_at_work(run: Run) -> None:
    """Say in the store that the run is at work from now on, so that its files are left alone.

    Raises UserError if they were being deleted just then. Who deletes a run takes its experiment
    away before looking for this mark, and here it is looked for after the mark is made: one of the
    two sees the other.
    """
    key = f"{run.prefix}/{AT_WORK}"
    since = datetime.now(UTC).isoformat(timespec="seconds")
    run.store.put(key, f'{{"since": "{since}"}}\n'.encode())
    if not run.store.exists(f"{run.prefix}/{EXPERIMENT}"):
        run.store.delete(key)
        raise UserError(f"run '{run.run_id}' is being deleted: begin a new run")


def make_run_id(name: str) -> str:
    """An id nobody has: the experiment's name, the time, and a few random digits."""
    return f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def list_runs(store: Store) -> list[str]:
    """The ids of all runs in the store."""
    return sorted({key.split("/")[1] for key in store.list("runs")})


def refuse_other_settings(run_id: str, began: Result, given: Result) -> None:
    """Raise UserError naming the first setting that differs."""
    old, new = flatten(began), flatten(given)
    for key in sorted(old | new):
        if old.get(key) != new.get(key):
            raise UserError(
                f"run '{run_id}' began with {key} = {old.get(key)}, given {new.get(key)}: "
                "leave the settings out to continue it, or take another --run-id"
            )
