"""The objects that name a version: a model's best and its aliases, moved by compare-and-swap.

A pointer holds how it was last moved. That record joins the history as soon as the pointer names
its version, and again before the next move, so that a mover that is killed between takes none away.
"""

import json
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Self

from vae.errors import UserError
from vae.files import PLAIN_NAME, hash_bytes
from vae.registry.manifest import IntegrityError, is_number, parse_object
from vae.registry.names import check_plain, locate_model
from vae.store.promises import Store

BEST = "best"
NONE = ""  # where the history tells of a version itself, not of a pointer
REMOVED, DELETED = "removed", "deleted"  # kinds of moves from a version to none
LATEST = "latest"  # the newest version: computed, nothing that is stored


@dataclass(frozen=True, kw_only=True)
class Move:
    """How a pointer came to name its version."""

    previous: str  # the version that it named before; "" for none
    kind: str  # better, judged again, by hand, rolled back, removed; deleted, of a version
    why: str
    when: str  # UTC, ISO 8601
    host: str
    run: str  # the run that did it; "" for a person

    @classmethod
    def now(cls, previous: str, kind: str, why: str, run: str = "") -> "Move":
        """A move that is made on this machine, now."""
        when = datetime.now(UTC).isoformat(timespec="microseconds")
        host = socket.gethostname()
        return cls(previous=previous, kind=kind, why=why, when=when, host=host, run=run)


@dataclass(frozen=True, kw_only=True)
class Pointer:
    """A version under a name of its own; `move` is None where version 0.1 wrote it.

    An alias that was removed says so and stays, for nothing else can be replaced if unchanged.
    """

    version: str
    manifest_sha256: str
    move: Move | None = None

    @property
    def removed(self) -> bool:
        """Whether it names its version no longer."""
        return self.move is not None and self.move.kind == REMOVED

    def to_bytes(self) -> bytes:
        """The object as it is stored."""
        return f"{json.dumps(asdict(self), indent=2, allow_nan=False)}\n".encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Self:
        """Parse and check a pointer read at `where`; raises IntegrityError."""
        found = {"move": None} | parse_object(data, where)
        if found.keys() != {field.name for field in fields(cls)}:
            raise IntegrityError(f"{where} does not hold the fields of a {cls.__name__.lower()}")
        if not all(_is_sound(name, value) for name, value in found.items()):
            raise IntegrityError(f"{where} names no valid version and value")
        move = found.pop("move")
        return cls(**found, move=Move(**move) if move else None)


@dataclass(frozen=True, kw_only=True)
class Best(Pointer):
    """The version with the lowest `value` (nats per image) of `metric` on a dataset."""

    metric: str
    value: float
    dataset: str


def _is_sound(name: str, value: object) -> bool:
    """Whether a parsed field of a pointer is what it should be."""
    if name == "value":
        return is_number(value)
    if name == "version":
        return isinstance(value, str) and bool(PLAIN_NAME.fullmatch(value))
    if name == "move":
        return value is None or _is_move(value)
    return isinstance(value, str)


def _is_move(value: object) -> bool:
    expected = {field.name for field in fields(Move)}
    texts = isinstance(value, Mapping) and all(isinstance(text, str) for text in value.values())
    return texts and isinstance(value, Mapping) and value.keys() == expected


def locate_pointer(name: str, pointer: str) -> str:
    """Return the key of a model's best, or of an alias. Raises UserError for no plain name."""
    if pointer == BEST:
        return f"{locate_model(name)}/{BEST}.json"
    return f"{locate_model(name)}/aliases/{check_plain('alias', pointer)}.json"


def read_pointer(store: Store, name: str, pointer: str) -> tuple[Pointer | None, str | None]:
    """Return what a pointer says and its token for `Store.replace`, or two None.

    Raises IntegrityError for a damaged one.
    """
    key = locate_pointer(name, pointer)
    try:
        data, token = store.read_token(key)
    except FileNotFoundError:
        return None, None
    kind = Best if pointer == BEST else Pointer
    return kind.from_bytes(data, f"{store.uri}/{key}"), token


def read_best(store: Store, name: str) -> tuple[Best | None, str | None]:
    """Return a model's best and its token for `Store.replace`, or two None."""
    found, token = read_pointer(store, name, BEST)
    assert found is None or isinstance(found, Best)
    return found, token


def read_aliases(store: Store, name: str) -> dict[str, Pointer]:
    """A model's aliases, but none that was removed. Raises IntegrityError for a damaged one."""
    folder = f"{locate_model(name)}/aliases"
    names = [key.removeprefix(f"{folder}/").removesuffix(".json") for key in store.list(folder)]
    found = {alias: read_pointer(store, name, alias)[0] for alias in names}
    return {alias: says for alias, says in found.items() if says and not says.removed}


def move_pointer(
    store: Store,
    name: str,
    pointer: str,
    new: Pointer,
    old: tuple[Pointer | None, str | None],
) -> None:
    """Have a pointer say `new` if it still is what was read as `old`; both are in the history then.

    Raises Conflict if somebody else has moved it meanwhile.
    """
    before, token = old
    if before is not None:
        record_move(store, name, pointer, before)
    store.replace(locate_pointer(name, pointer), new.to_bytes(), token)
    record_move(store, name, pointer, new)


def record_move(store: Store, name: str, pointer: str, moved: Pointer) -> None:
    """Write a move into the history, once, as what the pointer says after it."""
    if moved.move is None:
        return
    entry = {"pointer": pointer, **asdict(moved)}
    data = f"{json.dumps(entry, indent=2, allow_nan=False)}\n".encode()
    when = moved.move.when.replace("-", "").replace(":", "").partition("+")[0]
    key = f"{locate_model(name)}/history/{when}-{pointer}-{hash_bytes(data)[:8]}.json"
    try:
        store.create(key, data)
    except FileExistsError:
        return  # by whoever moved it next, or by this process before it was killed


def list_moves(store: Store, name: str) -> list[tuple[str, Pointer]]:
    """Every move of every pointer, the oldest first: the pointer's name and what it said then.

    Raises IntegrityError for a damaged one.
    """
    moves = []
    for key in store.list(f"{locate_model(name)}/history"):
        where = f"{store.uri}/{key}"
        entry: dict[str, Any] = parse_object(store.read(key), where)
        pointer = str(entry.pop("pointer", ""))
        kind = Best if pointer == BEST else Pointer
        moves.append((pointer, kind.from_bytes(json.dumps(entry).encode(), where)))
    return moves


def check_alias(alias: str) -> str:
    """Return a name that an alias may have; raises UserError for another."""
    check_plain("alias", alias)
    if alias in (BEST, LATEST) or alias[0].isdecimal():
        raise UserError(
            f"alias {alias!r} is not allowed: it begins with a letter, and is neither {BEST} "
            f"nor {LATEST}"
        )
    return alias
