"""What a person decides: which version is the best, what aliases name, what is deleted."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from vae.errors import UserError, suggest
from vae.files import hash_bytes
from vae.registry.manifest import MANIFEST, Manifest
from vae.registry.names import find_manifests, find_versions, locate_model, locate_version
from vae.registry.pointers import (
    BEST,
    DELETED,
    NONE,
    REMOVED,
    Best,
    Move,
    Pointer,
    check_alias,
    list_moves,
    locate_pointer,
    move_pointer,
    read_aliases,
    read_best,
    read_pointer,
    record_move,
)
from vae.registry.promote import METRIC, name_metric
from vae.registry.read import read_manifest, read_metrics
from vae.store.probe import check_promises
from vae.store.promises import Conflict, Store

CHOSEN = ("better", "by hand")  # moves to a version for its own sake
Refuse = Callable[[], None]  # raises UserError


def promote_by_hand(store: Store, name: str, version: str, why: str) -> Best:
    """Make a published version the best, whatever its bound is; what the pointer says now.

    Raises UserError if it is not published, or another process moves the pointer meanwhile.
    """
    return move_best(store, name, version, "by hand", why)


def roll_back(store: Store, name: str, why: str) -> Best:
    """Make the version the best that the best was chosen over; what the pointer says now.

    Doing it again goes one further back. Raises UserError if the history names none that is left.
    """
    best, _ = read_best(store, name)
    if best is None:
        newest = find_versions(store, name)[-1]
        raise UserError(f"model {name!r} has no best version: vae promote {name}@{newest}")
    record_move(store, name, BEST, best)  # its mover may have been killed before that
    previous = find_predecessor(store, name, best.version)
    if not previous:
        raise UserError(
            f"the history of {name} names no version before its best: choose one of "
            f"`vae list {name}` with vae promote {name}@VERSION"
        )
    return move_best(store, name, previous, "rolled back", why)


def find_predecessor(store: Store, name: str, version: str) -> str:
    """The version that this one was chosen over as the best, of those that are left; or ""."""
    published = {found for _, found in find_manifests(store, locate_model(name))}
    chosen_over = {
        moved.version: moved.move.previous
        for pointer, moved in list_moves(store, name)
        if pointer == BEST and moved.move and moved.move.kind in CHOSEN
    }
    seen = {version}
    while (version := chosen_over.get(version, "")) and version not in seen:
        if version in published:
            return version
        seen.add(version)
    return ""


def move_best(store: Store, name: str, version: str, kind: str, why: str) -> Best:
    """Have the best be this version, and be there still once it is."""
    check_promises(store)
    data, manifest = read_manifest(store, name, version)
    old = read_best(store, name)
    new = Best(
        version=version,
        metric=name_metric(manifest.experiment),
        value=read_metrics(store, name, version)[METRIC],
        manifest_sha256=hash_bytes(data),
        dataset=manifest.dataset,
        move=Move.now(old[0].version if old[0] else "", kind, why),
    )
    move_by_hand(store, name, BEST, new, old)
    return new


def set_alias(store: Store, name: str, version: str, alias: str, why: str) -> Pointer:
    """Have an alias name a published version; what it says now. Raises UserError."""
    check_promises(store)
    data, _ = read_manifest(store, name, version)
    old = read_pointer(store, name, check_alias(alias))
    before = old[0].version if old[0] and not old[0].removed else ""
    move = Move.now(before, "by hand", why)
    new = Pointer(version=version, manifest_sha256=hash_bytes(data), move=move)
    move_by_hand(store, name, alias, new, old)
    return new


def remove_alias(store: Store, name: str, alias: str, why: str) -> Pointer:
    """Have an alias name no version any more; what it said before. Raises UserError."""
    check_promises(store)
    before, token = read_pointer(store, name, check_alias(alias))
    if before is None or before.removed:
        hint = suggest(alias, list(read_aliases(store, name)))
        raise UserError(f"model {name!r} has no alias {alias!r}{hint}")
    gone = replace(before, move=Move.now(before.version, REMOVED, why))
    try:
        move_pointer(store, name, alias, gone, (before, token))
    except Conflict:
        raise UserError(format_conflict(name, alias)) from None
    return before


def move_by_hand(
    store: Store, name: str, pointer: str, new: Pointer, old: tuple[Pointer | None, str | None]
) -> None:
    """Move a pointer, unless somebody else does so at the same time, or deletes the version."""
    try:
        move_pointer(store, name, pointer, new, old)
    except Conflict:
        raise UserError(format_conflict(name, pointer)) from None
    try:
        read_manifest(store, name, new.version)
    except UserError:
        take_back(store, name, pointer, new, old[0])
        raise


def format_conflict(name: str, pointer: str) -> str:
    """Why a pointer was not moved."""
    return f"{name}@{pointer} was moved by somebody else meanwhile: look again"


def take_back(store: Store, name: str, pointer: str, new: Pointer, old: Pointer | None) -> None:
    """Have a pointer say what it said before, unless it is moved again by now."""
    found, token = read_pointer(store, name, pointer)
    if found == new and old is None:
        store.delete(locate_pointer(name, pointer))
    elif found == new and old is not None:
        with suppress(Conflict):
            store.replace(locate_pointer(name, pointer), old.to_bytes(), token)


def delete_version(
    store: Store, name: str, version: str, why: str, refuse_if_needed: Refuse = lambda: None
) -> Manifest:
    """Delete a version that no pointer names; what its manifest said.

    `refuse_if_needed` raises UserError if somebody else needs it. Raises UserError then, and if it
    is the best or has an alias, also if it becomes so meanwhile.
    """

    def refuse() -> None:
        refuse_if_named(store, name, version)
        refuse_if_needed()

    data, manifest = read_manifest(store, name, version)
    refuse()
    folder = locate_version(name, version)
    store.delete(f"{folder}/{MANIFEST}")  # first: without it there is no version
    try:
        refuse()
    except UserError:  # it was promoted after the first look
        with suppress(FileExistsError):  # two delete it
            store.create(f"{folder}/{MANIFEST}", data)
        raise
    store.delete(folder)  # at once: another who deletes it may give the manifest back meanwhile
    move = Move.now(version, DELETED, why)
    gone = Pointer(version=version, manifest_sha256=hash_bytes(data), move=move)
    record_move(store, name, NONE, gone)
    return manifest


def refuse_if_named(store: Store, name: str, version: str) -> None:
    """Raise UserError if a pointer names the version."""
    best, _ = read_best(store, name)
    pointers = {BEST: best} if best else {}
    for pointer, says in (pointers | read_aliases(store, name)).items():
        if says.version == version:
            raise UserError(
                f"{name}@{version} is {name}@{pointer} and stays: have that name another first"
            )
