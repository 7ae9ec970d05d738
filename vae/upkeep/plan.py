"""What of a store may go: decided on plain data, with a reason for each thing.

Nothing goes into which anything was written within a day: it may be at work. Nothing goes that is
damaged or holds what this package does not write. Such things are said, for a person to decide.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby

from vae.data.datasets import SHEET
from vae.experiments.durations import DAY_S, format_age
from vae.registry.manifest import MANIFEST, SUFFIXES
from vae.runs.run import EXPERIMENT
from vae.upkeep.look import DATASET
from vae.upkeep.survey import DatasetState, Pointers, RunState, Stored, Survey, VersionState

AT_WORK_S = DAY_S
SCRATCH = "ray"  # of a run: Ray's, from when it kept its own files in the store
RUN_FOLDERS = ("checkpoints", "pictures", "search", SCRATCH)  # of no use once it is published
KEPT_FOLDERS = ("attempts", "wandb")  # which go with the whole run


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How much is kept: versions of each model, and seconds; and what time it is."""

    keep: int
    older_than_s: float
    now_s: float

    def is_quiet(self, stored: Stored) -> bool:
        """Whether nobody can be at work in it."""
        return self.now_s - stored.wrote_s >= AT_WORK_S

    def is_old(self, stored: Stored) -> bool:
        """Whether nothing was written into it for as long as things are kept."""
        return self.is_quiet(stored) and self.now_s - stored.wrote_s >= self.older_than_s

    def tell_age(self, stored: Stored) -> str:
        """For how long nothing was written into it."""
        return f"nothing written for {format_age(self.now_s - stored.wrote_s)}"


@dataclass(frozen=True, kw_only=True)
class Item:
    """A folder that may go."""

    prefix: str
    why: str
    size_bytes: int
    head: str = ""  # the object without which nobody looks at the others; some have none


@dataclass(frozen=True)
class Plan:
    """What may go, and what would if it were not for something that a person has to see."""

    items: list[Item] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def choose(survey: Survey, policy: Policy) -> Plan:
    """What may go of all that the store holds."""
    plan = Plan()
    for run in survey.runs.values():
        choose_of_run(run, survey, policy, plan)
    for name, versions in groupby(survey.versions.values(), lambda version: version.name):
        pointers = survey.pointers.get(name, Pointers())
        choose_versions(name, list(versions), pointers, survey, policy, plan)
    choose_datasets(survey, policy, plan)
    return plan


def choose_of_run(run: RunState, survey: Survey, policy: Policy, plan: Plan) -> None:
    """Of a published run what trained it, of an old one everything, and of any its scratch."""
    if not policy.is_quiet(run):
        return
    version = survey.versions.get(run.published)
    published = version is not None and bool(version.listed)
    strange = [name for name in run.files if not is_of_run(name)]
    if run.damage:
        plan.notes.append(f"{run.prefix} stays: {run.damage}")
    elif policy.is_old(run) and strange:
        plan.notes.append(describe_strange(run, strange))
    elif policy.is_old(run):
        head = f"{run.prefix}/{EXPERIMENT}" if EXPERIMENT in run.files else ""
        why = policy.tell_age(run)
        plan.items.append(Item(prefix=run.prefix, why=why, size_bytes=run.size_bytes, head=head))
        return
    for folder in RUN_FOLDERS:
        inside = [entry for entry in run.entries if entry.key.startswith(f"{run.prefix}/{folder}/")]
        wanted = folder != SCRATCH and (run.damage or not published)
        if inside and not wanted:
            why = "scratch" if folder == SCRATCH else "its model is published"
            size_bytes = sum(entry.size_bytes for entry in inside)
            prefix = f"{run.prefix}/{folder}"
            plan.items.append(Item(prefix=prefix, why=why, size_bytes=size_bytes))


def choose_versions(
    name: str,
    versions: list[VersionState],
    pointers: Pointers,
    survey: Survey,
    policy: Policy,
    plan: Plan,
) -> None:
    """Of one model those beyond the newest, and those that were never finished."""
    published = {version.version for version in versions if version.listed or version.damage}
    damage = pointers.damage
    if pointers.best and pointers.best not in published:
        damage = damage or f"its best version, {pointers.best}, is not published"
    if damage:
        plan.notes.append(f"models/{name} stays: {damage}")
        return
    kept = find_kept(versions, pointers, policy.keep)
    for version in versions:
        if version.version in kept or is_in_use(version, survey, policy, plan):
            continue
        complete = bool(version.listed)
        strange = [
            file
            for file in version.files
            if (file not in version.listed if complete else not file.endswith(SUFFIXES))
        ]
        if version.damage:
            plan.notes.append(f"{version.prefix} stays: {version.damage}")
        elif complete or policy.is_old(version):
            why = f"beyond the newest {policy.keep}" if complete else "never finished"
            head = f"{version.prefix}/{MANIFEST}" if complete else ""
            add_unless_strange(version, strange, why, head, plan)


def is_in_use(version: VersionState, survey: Survey, policy: Policy, plan: Plan) -> bool:
    """Whether somebody may be writing it, or a run that stays has yet to begin with its weights."""
    maker = survey.runs.get(f"runs/{version.run_id}")
    if not policy.is_quiet(version) or (maker and not policy.is_quiet(maker)):
        return True
    going = {item.prefix for item in plan.items}
    return any(
        run.needs(version.prefix) and run.prefix not in going for run in survey.runs.values()
    )


def find_kept(versions: Iterable[VersionState], pointers: Pointers, keep: int) -> set[str]:
    """The newest, the best, the one before it to go back to, and all that a pointer names."""
    complete = sorted(version.version for version in versions if version.listed)
    before = [version for version in complete if version < pointers.best]
    return {*complete[-keep:], *before[-1:], pointers.previous, pointers.best, *pointers.named}


def choose_datasets(survey: Survey, policy: Policy, plan: Plan) -> None:
    """Old ones that nothing names which stays; none while that can't be known."""
    going = {item.prefix for item in plan.items}
    runs = [run for run in survey.runs.values() if run.prefix not in going]
    versions = [one for one in survey.versions.values() if one.prefix not in going]
    keys = {run.dataset for run in runs}
    digests = {version.dataset for version in versions}
    old = [
        dataset
        for dataset in survey.datasets.values()
        if policy.is_old(dataset) and dataset.prefix not in keys and dataset.digest not in digests
    ]
    unknown = [one.prefix for one in versions if one.damage]
    unknown += [run.prefix for run in runs if may_name_any(run, policy)]
    if old and unknown:
        plan.notes.append(f"datasets stay: {unknown[0]} does not say which of them it needs")
        return
    for dataset in old:
        choose_dataset(dataset, policy, plan)


def may_name_any(run: RunState, policy: Policy) -> bool:
    """Whether the run can need a dataset that its records don't name."""
    unreadable = bool(run.damage) or "data" in run.recorded
    return not run.dataset and (unreadable or not policy.is_quiet(run))


def choose_dataset(dataset: DatasetState, policy: Policy, plan: Plan) -> None:
    """One that nothing names; its classifier and its contact sheet are beside its files."""
    if dataset.damage:
        plan.notes.append(f"{dataset.prefix} stays: {dataset.damage}")
        return
    listed = dataset.listed or {name for name in dataset.files if name.endswith(".npy")}
    known = {*listed, SHEET}
    strange = [
        name for name in dataset.files if name not in known and not name.startswith("classifier-")
    ]
    head = f"{dataset.prefix}/{DATASET}" if dataset.listed else ""
    why = f"nothing names it, {policy.tell_age(dataset)}"
    add_unless_strange(dataset, strange, why, head, plan)


def add_unless_strange(stored: Stored, strange: list[str], why: str, head: str, plan: Plan) -> None:
    """Plan the folder to go, unless it holds what this package did not write."""
    if strange:
        plan.notes.append(describe_strange(stored, strange))
        return
    item = Item(prefix=stored.prefix, why=why, size_bytes=stored.size_bytes, head=head)
    plan.items.append(item)


def describe_strange(stored: Stored, strange: list[str]) -> str:
    """Why a folder stays that would go otherwise."""
    return f"{stored.prefix} stays: it holds {strange[0]}, which is not ours"


def is_of_run(name: str) -> bool:
    """Whether a run has such a file."""
    folder, separator, _ = name.partition("/")
    return folder in (*RUN_FOLDERS, *KEPT_FOLDERS) if separator else name.endswith(".json")
