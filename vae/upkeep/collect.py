"""What may go, goes: looked at twice, so that nobody who comes meanwhile loses anything.

Each thing has a head, the object without which nobody looks at the others: a manifest, a dataset's
record, a run's experiment. All heads go first. Then everything is looked at once more, and only
what may still go does, in full; the others get their heads back. Who begins to use a thing says so
in the store before reading its head, and so either finds no head or is seen by the second look.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

from vae.errors import UserError, describe_error
from vae.experiments.durations import HOUR_S, format_age
from vae.store.promises import Conflict, Store
from vae.upkeep.look import look
from vae.upkeep.plan import AT_WORK_S, Item, Plan, Policy, choose
from vae.upkeep.survey import Stored, Survey

LOCK = "gc/at-work.json"
S = TypeVar("S", bound=Stored)


@dataclass(frozen=True)
class Collected:
    """What went, what could not, what a person has to see, and the store's size around it."""

    gone: list[Item] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    before_bytes: int = 0
    after_bytes: int = 0


def preview(store: Store, policy: Policy) -> Collected:
    """What `collect` would do; nothing is written."""
    survey = look(store)
    plan = choose(survey, policy)
    after_bytes = survey.size_bytes - sum(item.size_bytes for item in plan.items)
    return Collected(plan.items, [], plan.notes, survey.size_bytes, after_bytes)


def collect(store: Store, policy: Policy) -> Collected:
    """Delete what may go.

    Raises UserError for a store that can't be written, while another one collects, and if the
    store's clock is behind `policy.now_s`, by which everything would be older than it is.
    """
    store.check_writable()
    before_bytes = measure(store)
    with hold_lock(store, policy):
        first = look(store)
        plan = choose(first, policy)
        heads, confirmed = dict[str, bytes](), list[Item]()
        try:
            take_heads(store, plan, heads)
            confirmed += confirm(plan, first, look(store), heads, policy)
        finally:  # also if the store went away, or somebody stops this
            give_back(store, heads, confirmed)
        gone, failed = delete_all(store, confirmed)
    return Collected(gone, failed, plan.notes, before_bytes, measure(store))


def measure(store: Store) -> int:
    """The size of all that is in the store."""
    return sum(entry.size_bytes for entry in store.list_details())


def take_heads(store: Store, plan: Plan, heads: dict[str, bytes]) -> None:
    """Delete the heads of all that may go, keeping their bytes in `heads`."""
    for item in plan.items:
        if item.head:
            with suppress(FileNotFoundError):  # somebody else deleted it
                heads[item.head] = store.read(item.head)
                store.delete(item.head)


def confirm(
    plan: Plan, first: Survey, second: Survey, heads: Mapping[str, bytes], policy: Policy
) -> list[Item]:
    """Those of the plan that may still go, judged by the second survey as if they had heads."""
    taken = {item.prefix for item in plan.items if item.head in heads}
    remembered = replace(
        second,
        runs=remember(first.runs, second.runs, taken),
        versions=remember(first.versions, second.versions, taken),
        datasets=remember(first.datasets, second.datasets, taken),
    )
    still = {item.prefix for item in choose(remembered, policy).items}
    return [
        item
        for item in plan.items
        if item.prefix in still and (not item.head or item.prefix in taken)
    ]


def remember(before: Mapping[str, S], after: Mapping[str, S], taken: Iterable[str]) -> dict[str, S]:
    """What is there now; of what has lost its head, what that said before."""
    known = {key: before[key] for key in taken if key in before}
    lost = {
        key: replace(stored, entries=after[key].entries if key in after else ())
        for key, stored in known.items()
    }
    merged = dict(after) | lost
    return {key: merged[key] for key in sorted(merged)}  # versions of one model side by side


def give_back(store: Store, heads: Mapping[str, bytes], confirmed: list[Item]) -> None:
    """Write the heads again of what has to stay."""
    going = {item.head for item in confirmed}
    for head, data in heads.items():
        if head not in going:
            with suppress(FileExistsError):  # somebody made it anew
                store.create(head, data)


def delete_all(store: Store, items: list[Item]) -> tuple[list[Item], list[str]]:
    """Delete the folders; those that are gone, and why the others are not.

    Datasets go first: the longer ago the second look is, the more may have begun to need one.
    """
    gone, failed = list[Item](), list[str]()
    for item in sorted(items, key=lambda one: not one.prefix.startswith("datasets/")):
        try:
            store.delete(item.prefix)
        except OSError as error:  # what is left has no head, and goes another time
            failed.append(f"{item.prefix}: {describe_error(error)}")
        else:
            gone.append(item)
    return gone, failed


@contextmanager
def hold_lock(store: Store, policy: Policy) -> Iterator[None]:
    """Be the only one who collects; one who was killed is in the way for a day."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(policy.now_s))
    data = f"{json.dumps({'since': since})}\n".encode()
    try:
        store.create(LOCK, data)
    except FileExistsError:
        take_over(store, policy, data)
    try:
        ahead_s = policy.now_s - read_lock_time(store, policy)
        if ahead_s > HOUR_S:
            raise UserError(
                f"the clock of this machine is {format_age(ahead_s)} ahead of that of {store.uri}: "
                "set it, or everything seems older than it is"
            )
        yield
    finally:
        store.delete(LOCK)


def take_over(store: Store, policy: Policy, data: bytes) -> None:
    """Take the lock of one who was killed. Raises UserError if that can't be known."""
    busy = UserError(
        f"another gc is at work in {store.uri}; if it was killed, delete {store.uri}/{LOCK}"
    )
    if policy.now_s - read_lock_time(store, policy) < AT_WORK_S:
        raise busy
    try:
        _, token = store.read_token(LOCK)
        store.replace(LOCK, data, token)
    except (Conflict, FileNotFoundError):
        raise busy from None


def read_lock_time(store: Store, policy: Policy) -> float:
    """When the lock was written; now, if it is gone."""
    times = [entry.modified_s for entry in store.list_details("gc") if entry.key == LOCK]
    return max(times, default=policy.now_s)
