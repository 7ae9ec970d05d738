"""Two versions side by side: as lines for a terminal, and as one page with their pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined

from vae.publishing.embedding import CAPTIONS, embed
from vae.registry.manifest import Manifest
from vae.registry.names import locate_version
from vae.registry.promote import name_metric
from vae.registry.read import read_metrics, read_published, resolve
from vae.registry.table import find_changes
from vae.store.promises import Store


class MetricPair(NamedTuple):
    """A metric of both versions; None where one has none."""

    name: str
    left: float | None
    right: float | None

    @property
    def difference(self) -> str:
        """How much more the second has, or nothing where one has none."""
        if self.left is None or self.right is None:
            return ""
        return f"{self.right - self.left:+.4g}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What differs between two versions."""

    left: Manifest
    right: Manifest
    settings: dict[str, tuple[Any, Any]]  # by dotted name
    metrics: list[MetricPair]

    @property
    def titles(self) -> tuple[str, str]:
        """What the two are called."""
        left, right = self.left, self.right
        return f"{left.name}@{left.version}", f"{right.name}@{right.version}"

    @property
    def warning(self) -> str:
        """Why their figures don't compare; nothing if they do."""
        if self.left.dataset != self.right.dataset:
            return "they are of different datasets: their metrics don't compare"
        ours, theirs = (name_metric(one.experiment) for one in (self.left, self.right))
        if ours != theirs:
            return f"their bounds don't compare: A has {ours}, B {theirs}"
        return ""


def compare(store: Store, left: tuple[str, str], right: tuple[str, str]) -> Comparison:
    """Compare two versions, each given as model and version as `resolve` takes it.

    Raises UserError, IntegrityError if one of them is not as it was published.
    """
    ours, theirs = (resolve(store, name, version)[1] for name, version in (left, right))
    ours_of, theirs_of = (read_metrics(store, m.name, m.version) for m in (ours, theirs))
    names = sorted(ours_of.keys() | theirs_of.keys())
    return Comparison(
        left=ours,
        right=theirs,
        settings=find_changes(ours.experiment, theirs.experiment),
        metrics=[MetricPair(name, ours_of.get(name), theirs_of.get(name)) for name in names],
    )


def format_comparison(found: Comparison) -> list[str]:
    """The comparison in lines of 100 columns, long settings excepted."""
    lines = [f"A  {found.titles[0]}", f"B  {found.titles[1]}"]
    lines += [f"   {found.warning}"] if found.warning else []
    lines += ["", f"{'setting':<36} {'A':>20} {'B':>20}"]
    lines += [f"{name:<36} {a!s:>20} {b!s:>20}" for name, (a, b) in found.settings.items()]
    lines += ["", f"{'metric':<36} {'A':>20} {'B':>20} {'B - A':>14}"]
    for pair in found.metrics:
        a, b = (show_number(value) for value in (pair.left, pair.right))
        lines.append(f"{pair.name:<36} {a:>20} {b:>20} {pair.difference:>14}")
    return lines


def show_number(value: float | None) -> str:
    """A metric in six digits; a dash for none."""
    return "-" if value is None else f"{value:.6g}"


def render_comparison(store: Store, found: Comparison) -> str:
    """The comparison as one self-contained page, with the pictures side by side."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = (resources.files("vae.publishing") / "comparison.html.j2").read_text("utf-8")
    sides = [read_pictures(store, manifest) for manifest in (found.left, found.right)]
    pictures = [
        (caption, [side.get(name) for side in sides])
        for name, caption in CAPTIONS.items()
        if any(name in side for side in sides)
    ]
    return environment.from_string(template).render(
        found=found, pictures=pictures, show_number=show_number
    )


def read_pictures(store: Store, manifest: Manifest) -> Mapping[str, str]:
    """A version's pictures as they stand in a page, by name. Raises IntegrityError."""
    folder = locate_version(manifest.name, manifest.version)
    return {
        name: embed(read_published(store, f"{folder}/{file}", manifest.files[file]))
        for name in CAPTIONS
        if (file := f"{name}.png") in manifest.files
    }
