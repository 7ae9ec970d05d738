"""All of `vae gc`: the store, and what is left on this machine beside it."""

from dataclasses import dataclass

from vae.errors import UserError
from vae.experiments.durations import parse_duration
from vae.store.promises import Store
from vae.upkeep.collect import Collected, collect, preview
from vae.upkeep.leftovers import Leftover, find_leftovers, remove_leftovers
from vae.upkeep.plan import Policy


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What went, or would go if it was not asked to."""

    uri: str
    deleted: bool
    store: Collected
    beside: list[Leftover]
    failed: list[str]  # why things are there that should be gone


def make_policy(keep: int, older_than: str, now_s: float) -> Policy:
    """What is kept, as people say it. Raises UserError."""
    older_than_s = parse_duration(older_than, units="hdw")  # 1m may be meant as a month
    if older_than_s is None:
        raise UserError(
            f"older-than is '{older_than}', must be a number of hours, days or weeks, such as 12h, "
            "30d or 2w"
        )
    if keep < 1:
        raise UserError(f"keep is {keep}, must be 1 or more")
    return Policy(keep=keep, older_than_s=older_than_s, now_s=now_s)


def sweep(store: Store, policy: Policy, *, delete: bool) -> Sweep:
    """Find what may go, and let it go if that is asked for. Raises UserError."""
    with store.explain_errors():
        collected = collect(store, policy) if delete else preview(store, policy)
    beside = find_leftovers(policy)
    failed = [*collected.failed, *(remove_leftovers(beside) if delete else [])]
    return Sweep(uri=store.uri, deleted=delete, store=collected, beside=beside, failed=failed)
