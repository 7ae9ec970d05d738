"""All that a store holds, as far as it matters to what may go; plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vae.store.promises import Entry

TRAIN = "train"  # the stage after which nobody asks for the weights that it began with


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A folder in the store: what is in it, and why it can't be read, if it can't."""

    prefix: str
    entries: tuple[Entry, ...]
    damage: str = ""

    @property
    def files(self) -> list[str]:
        """The names of the objects, from the folder on."""
        names = [entry.key.removeprefix(f"{self.prefix}/") for entry in self.entries]
        return [name for name in names if not name.endswith("/")]

    @property
    def size_bytes(self) -> int:
        """The size of all objects."""
        return sum(entry.size_bytes for entry in self.entries)

    @property
    def wrote_s(self) -> float:
        """When anything was last written into it, in seconds since the epoch."""
        return max((entry.modified_s for entry in self.entries), default=float("-inf"))


@dataclass(frozen=True, kw_only=True)
class RunState(Stored):
    """A run as its records describe it."""

    run_id: str
    experiment: str = ""
    recorded: frozenset[str] = frozenset()  # the stages that have a result
    dataset: str = ""  # its key
    published: str = ""  # the key of its version's folder
    start: str = ""  # that of the version whose weights its training begins with
    refusal: str = ""  # why it can't be continued

    def needs(self, version_prefix: str) -> bool:
        """Whether its training has yet to begin with that version's weights."""
        return self.start == version_prefix and TRAIN not in self.recorded


@dataclass(frozen=True, kw_only=True)
class VersionState(Stored):
    """A version of a model; without a manifest one that nobody sees."""

    name: str
    version: str
    run_id: str
    dataset: str = ""  # the digest
    listed: frozenset[str] = frozenset()  # by its manifest, with which it is complete


@dataclass(frozen=True, kw_only=True)
class DatasetState(Stored):
    """A dataset; without a record one that nobody sees."""

    digest: str = ""
    listed: frozenset[str] = frozenset()  # by its record


@dataclass(frozen=True, kw_only=True)
class Pointers:
    """What is said about a model's versions outside of them: the best, and all that are named."""

    best: str = ""
    previous: str = ""  # the version that the best was chosen over
    named: frozenset[str] = frozenset()
    damage: str = ""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A store's content: pointers by the name of their model, all else by the key of its folder."""

    runs: Mapping[str, RunState] = field(default_factory=dict)
    versions: Mapping[str, VersionState] = field(default_factory=dict)
    datasets: Mapping[str, DatasetState] = field(default_factory=dict)
    pointers: Mapping[str, Pointers] = field(default_factory=dict)
    size_bytes: int = 0
