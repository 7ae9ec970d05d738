"""Which published version a training begins with: chosen once, then recorded with the run."""

from dataclasses import dataclass

from vae.experiments.settings import BEST, SCRATCH, Experiment
from vae.files import hash_bytes
from vae.registry.manifest import IntegrityError
from vae.registry.pointers import read_best
from vae.registry.read import resolve
from vae.store.promises import Store

Lineage = dict[str, str]  # as manifest.json and a run's record have it; empty: from scratch


@dataclass(frozen=True, kw_only=True)
class Start:
    """A version whose weights a training begins with."""

    name: str
    version: str
    manifest_sha256: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    def to_lineage(self) -> Lineage:
        """Plain JSON types only; `read_start` is the inverse."""
        return {"from": str(self), "manifest_sha256": self.manifest_sha256}


def read_start(lineage: Lineage) -> Start | None:
    """The version that a lineage names, if it names one."""
    if not lineage:
        return None
    name, _, version = lineage["from"].partition("@")
    return Start(name=name, version=version, manifest_sha256=lineage["manifest_sha256"])


def choose_start(store: Store, experiment: Experiment) -> Start | None:
    """What `train.from` means now; None for first weights, also where there is no best yet.

    Raises UserError for an unknown version, IntegrityError for a damaged one.
    """
    asked = experiment.train.from_
    if asked == SCRATCH or (asked == BEST and read_best(store, experiment.name)[0] is None):
        return None
    name, _, version = (f"{experiment.name}@{BEST}" if asked == BEST else asked).partition("@")
    data, manifest = resolve(store, name, version)
    return Start(name=manifest.name, version=manifest.version, manifest_sha256=hash_bytes(data))


def check_same_manifest(found: bytes, start: Start) -> None:
    """Raise IntegrityError unless a manifest is the one that was chosen."""
    digest = hash_bytes(found)
    if digest != start.manifest_sha256:
        raise IntegrityError(
            f"{start}: its manifest was changed since the run began: expected sha256 "
            f"{start.manifest_sha256}, found {digest}"
        )
