"""A model's versions as people read them: a table that fits 100 columns, one version in full."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from vae.experiments.durations import format_age
from vae.experiments.loading import list_shipped, load_experiment
from vae.experiments.settings import Experiment
from vae.experiments.table import flatten, to_plain
from vae.registry.manifest import Manifest
from vae.registry.names import SHORT, shorten
from vae.registry.pointers import DELETED, REMOVED, Pointer
from vae.registry.promote import METRIC
from vae.registry.read import VersionInfo

WIDTHS = (1, 19, 7, 22, 10, 16, 14)  # of the columns, with one between them: 95 of 100
HEADER = ("", "version", "age", "dataset", "seed", "likelihood", METRIC)
STAR = "★"
TIME = re.compile(r"[0-9]{8}T[0-9]{6}")


def format_versions(models: Mapping[str, Sequence[VersionInfo]], now: datetime) -> list[str]:
    """The versions of each model, the best one starred; below one what else it is called."""
    lines = [format_row(HEADER)]
    for name, versions in models.items():
        lines.append(name)
        short = shorten([info.version for info in versions])
        for info in versions:
            lines.append(format_row(list_cells(info, short[info.version], now)))
            cut = len(short[info.version]) > WIDTHS[1]
            if called := [*info.aliases, *([short[info.version]] if cut else ())]:
                lines.append(f"    {', '.join(f'{name}@{each}' for each in called)}")
            if info.manifest and info.manifest.notes:
                lines.append(f"    {', '.join(info.manifest.notes)}")
            if info.damage:
                lines.append(f"    damaged: {info.damage}")
    return lines


def list_cells(info: VersionInfo, short: str, now: datetime) -> tuple[str, ...]:
    """A version as cells of the table."""
    mark = STAR if info.best else ""
    if info.manifest is None:
        return mark, short, tell_age(info.version, now), "?", "?", "?", "damaged"
    experiment = info.manifest.experiment
    bound = info.metrics.get(METRIC)
    return (
        mark,
        short,
        tell_age(info.version, now),
        f"{name_dataset(experiment)} {info.manifest.dataset[:8]}",
        str(experiment.get("seed", "?")),
        str(experiment.get("model", {}).get("likelihood", "bernoulli")),
        "damaged" if bound is None else f"{bound:.2f} nats",
    )


def format_row(cells: Sequence[str]) -> str:
    """One line of the table."""
    cut = [
        cell if len(cell) <= width else f"{cell[: width - 1]}…"
        for cell, width in zip(cells, WIDTHS, strict=True)
    ]
    *left, last = [cell.ljust(width) for cell, width in zip(cut, WIDTHS, strict=True)]
    return " ".join([*left, last.strip().rjust(WIDTHS[-1])])


def tell_age(version: str, now: datetime) -> str:
    """How long ago the version's run began, in one unit; "?" where its name doesn't say."""
    if not TIME.match(version):
        return "?"
    began = datetime.strptime(version[:SHORT], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    return format_age((now - began).total_seconds())


def name_dataset(experiment: Mapping[str, Any]) -> str:
    """A dataset's name without the folders that lead to it."""
    return PurePath(str(experiment.get("data", {}).get("name", "?"))).name


def describe_version(
    manifest: Manifest, metrics: Mapping[str, float], named: Mapping[str, Pointer]
) -> list[str]:
    """Everything about one version, a line each. `named`: the pointers that name it."""
    lines = [f"{manifest.name}@{manifest.version}"]
    began, note = manifest.lineage.get("from", ""), manifest.cut
    facts = {"run": manifest.run_id, "dataset": describe_dataset(manifest)}
    facts |= {"from": began, "short": note, **manifest.made}
    lines += [f"  {key:<10} {value}" for key, value in facts.items() if value not in ("", None)]
    for pointer, says in named.items():
        move = says.move
        since = f" since {move.when[:19]}, {move.kind}: {move.why}" if move else ""
        lines.append(f"  {'named':<10} @{pointer}{since}")
    base, changes = list_changes(manifest)
    lines.append(f"settings that differ from {base}:")
    lines += [f"  {key} = {ours}    ({theirs})" for key, (ours, theirs) in changes.items()]
    lines.append("metrics:")
    lines += [f"  {key:<28} {value:.6g}" for key, value in sorted(metrics.items())]
    lines.append("packages:")
    return [*lines, *(f"  {name:<28} {version}" for name, version in manifest.packages.items())]


def describe_dataset(manifest: Manifest) -> str:
    """The dataset's digest, and the name or path under which it was found."""
    return f"{manifest.dataset} from {manifest.experiment.get('data', {}).get('name', '?')}"


def list_changes(manifest: Manifest) -> tuple[str, dict[str, tuple[Any, Any]]]:
    """What the settings are compared with, and those that differ: here, and there.

    With the shipped experiment of the model's name, or with the defaults where there is none.
    """
    base, settings = "the defaults", Experiment(name=manifest.name).to_dict()
    if manifest.name in list_shipped():
        base, settings = f"the shipped {manifest.name}", load_experiment(manifest.name).to_dict()
    return base, find_changes(manifest.experiment, settings)


def find_changes(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings that differ, by dotted name: their two values, "-" where one has none."""
    left, right = flatten(dict(ours)), flatten(dict(theirs))
    names = sorted(left.keys() | right.keys())
    pairs = {
        name: (to_plain(left.get(name, "-")), to_plain(right.get(name, "-"))) for name in names
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def format_moves(moves: Sequence[tuple[str, Pointer]]) -> list[str]:
    """The history of a model's pointers: when, which, from where to where, how, who and why."""
    lines = []
    for pointer, says in moves:
        if (move := says.move) is not None:
            ended = move.kind in (REMOVED, DELETED)
            what = f"{move.previous or 'none'} → {'none' if ended else says.version}"
            what = f"@{pointer}: {what}" if pointer else says.version
            who = f"run {move.run} on {move.host}" if move.run else move.host
            lines.append(f"{move.when[:19]}  {what}")
            lines.append(f"    {move.kind}, by {who}{f': {move.why}' if move.why else ''}")
    return lines or ["no move is on record"]
