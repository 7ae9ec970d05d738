"""A look at all that a store holds; nothing is written, and damage to one thing hides no other."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from typing import Any

from vae.data.datasets import DatasetRef
from vae.errors import RefusedError, UserError
from vae.registry.curate import find_predecessor
from vae.registry.lineage import Lineage, read_start
from vae.registry.manifest import MANIFEST, IntegrityError, parse_object
from vae.registry.names import locate_version
from vae.registry.pointers import REMOVED, Best
from vae.registry.read import read_manifest
from vae.runs.records import DamagedRecordError, Result, read_record
from vae.runs.run import AT_WORK, EXPERIMENT, REDO, open_run
from vae.store.promises import Entry, Store
from vae.upkeep.survey import DatasetState, Pointers, RunState, Survey, VersionState

READERS = 8  # threads: on S3 each read is a request
DATASET = "dataset.json"
BEST = "best.json"
Folder = tuple[str, tuple[Entry, ...]]  # its key, and all that is in it


def look(store: Store) -> Survey:
    """What the store holds."""
    entries = store.list_details()
    runs, datasets = split(entries, "runs", 2), split(entries, "datasets", 2)
    models = split(entries, "models", 2)
    versions = [
        folder
        for _, inside in models
        for folder in split(inside, "models", 4)
        if folder[0].split("/")[2] == "versions"
    ]
    with ThreadPoolExecutor(READERS) as pool:

        def read(one: Callable[..., Any], folders: list[Folder]) -> Iterator[Any]:
            return pool.map(lambda folder: one(store, *folder), folders)

        found = read(read_run, runs), read(read_version, versions), read(read_dataset, datasets)
        pointers = read(read_pointers, models)
        return Survey(
            runs={run.prefix: run for run in found[0]},
            versions={version.prefix: version for version in found[1]},
            datasets={dataset.prefix: dataset for dataset in found[2]},
            pointers={
                prefix.split("/")[1]: one for (prefix, _), one in zip(models, pointers, strict=True)
            },
            size_bytes=sum(entry.size_bytes for entry in entries),
        )


def split(entries: Iterable[Entry], top: str, depth: int) -> list[Folder]:
    """The folders `depth` names deep below `top`/; `entries` are sorted."""

    def name_folder(entry: Entry) -> str:
        parts = entry.key.split("/")
        return "/".join(parts[:depth]) if parts[0] == top and len(parts) > depth else ""

    inside = sorted(entries, key=name_folder)
    return [(key, tuple(found)) for key, found in groupby(inside, name_folder) if key]


def read_run(store: Store, prefix: str, entries: tuple[Entry, ...]) -> RunState:
    """A run, from the records of its stages, and of its trials while the search has no result."""
    run = RunState(prefix=prefix, entries=entries, run_id=prefix.split("/")[1])
    names = [name for name in run.files if name.endswith(".json") and name != AT_WORK]
    stages = [name for name in names if "/" not in name]
    trials = [] if "search.json" in names else [n for n in names if n.startswith("search/")]
    records, damage = dict[str, Result](), list[str]()
    for name in stages + trials:
        try:
            records[name] = read_record(store, f"{prefix}/{name}", REDO) or {}
        except DamagedRecordError as error:
            damage.append(str(error))
    began = records.get(EXPERIMENT, {})
    experiment = began.get("experiment", {}).get("name", "")
    version = records.get("publish.json", {}).get("version", "")
    return replace(
        run,
        damage="; ".join(damage),
        experiment=experiment,
        recorded=frozenset(name.removesuffix(".json") for name in stages if name != EXPERIMENT),
        dataset=read_dataset_key(records.get("data.json", {})),
        published=f"models/{experiment}/versions/{version}" if version else "",
        start=locate_start(began.get("lineage", {})),
        refusal=find_refusal(store, run),
    )


def locate_start(lineage: Lineage) -> str:
    """The key of the version whose weights a training begins with; nothing for a new model."""
    start = read_start(lineage)
    return locate_version(start.name, start.version) if start else ""


def read_dataset_key(record: Result) -> str:
    """Where the dataset is that the data stage recorded; nothing if it has not yet."""
    try:
        return DatasetRef.from_json(record["dataset"]).key
    except (KeyError, UserError):
        return ""


def find_refusal(store: Store, run: RunState) -> str:
    """Why the run could not be continued as far as its experiment says; nothing if it could."""
    if EXPERIMENT not in run.files:
        return f"it has no {EXPERIMENT}"
    try:
        open_run(store, run.run_id)
    except RefusedError:  # says nothing of this run
        raise
    except UserError as error:
        return str(error)
    return ""


def read_version(store: Store, prefix: str, entries: tuple[Entry, ...]) -> VersionState:
    """A version, from its manifest."""
    _, name, _, version = prefix.split("/")
    run_id = version.partition("-")[2]  # as `Run.version` names it, for one without a manifest
    found = VersionState(prefix=prefix, entries=entries, name=name, version=version, run_id=run_id)
    if MANIFEST not in found.files:
        return found
    try:
        _, manifest = read_manifest(store, name, version)
    except RefusedError:
        raise
    except UserError as error:
        return replace(found, damage=str(error))
    listed = frozenset({MANIFEST, *manifest.files})
    return replace(found, run_id=manifest.run_id, dataset=manifest.dataset, listed=listed)


def read_dataset(store: Store, prefix: str, entries: tuple[Entry, ...]) -> DatasetState:
    """A dataset, from its record."""
    found = DatasetState(prefix=prefix, entries=entries)
    if DATASET not in found.files:
        return found
    try:
        ref = DatasetRef.from_json(store.read(f"{prefix}/{DATASET}"))
    except RefusedError:
        raise
    except (UserError, FileNotFoundError) as error:
        return replace(found, damage=f"{store.uri}/{prefix}/{DATASET}: {error}")
    return replace(found, digest=ref.digest, listed=frozenset({DATASET, *ref.files}))


def read_pointers(store: Store, prefix: str, entries: tuple[Entry, ...]) -> Pointers:
    """What a model's best.json says, and which versions any other pointer names.

    A pointer is each JSON object of the model that is neither in a version nor in its history.
    """
    best, previous, named, damage = "", "", set[str](), list[str]()
    inside = {entry.key.removeprefix(f"{prefix}/") for entry in entries}
    for name in sorted(name for name in inside if name.endswith(".json")):
        if name.startswith(("versions/", "history/")):
            continue
        where = f"{store.uri}/{prefix}/{name}"
        try:
            data = store.read(f"{prefix}/{name}")
            if name == BEST:
                best = Best.from_bytes(data, where).version
                previous = find_predecessor(store, prefix.rpartition("/")[2], best)
            else:
                found = parse_object(data, where)
                removed = (found.get("move") or {}).get("kind") == REMOVED
                named.update(() if removed else collect_texts(found))
        except (IntegrityError, FileNotFoundError) as error:
            damage.append(str(error))
    return Pointers(best=best, previous=previous, named=frozenset(named), damage="; ".join(damage))


def collect_texts(value: object) -> Iterator[str]:
    """Every text in parsed JSON, as it is and as the version in NAME@VERSION."""
    if isinstance(value, str):
        yield value
        yield value.rpartition("@")[2]
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (*collect_texts(key), *collect_texts(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from collect_texts(inner)
