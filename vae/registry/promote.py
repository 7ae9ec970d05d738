"""The pointer to the best version is moved: by compare-and-swap, only to a better one."""

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from vae.files import hash_bytes
from vae.registry.manifest import Best, IntegrityError, Manifest
from vae.registry.read import locate_best, read_best, read_manifest
from vae.store.probe import check_promises
from vae.store.promises import Conflict, Store

METRIC = "val/nll"  # by which versions compare: the validation bound, nats per image

log = logging.getLogger(__name__)
# The value of a published version on the candidate's images; None if it can't take them.
JudgeAgain = Callable[[Manifest], float | None]


class Promotion(NamedTuple):
    """How a version fared against the best."""

    best: bool  # whether the pointer names it now
    why: str  # in one line
    value: float  # its own, nats
    previous: float | None  # that of the best before, on the same images; None if there was none


def promote(
    store: Store,
    name: str,
    version: str,
    value: float,
    *,
    metric: str = METRIC,
    judge_again: JudgeAgain | None = None,
) -> Promotion:
    """Make a published version the best if its `value` (nats, lower is better) beats the best's.

    Where the best was judged on another dataset, `judge_again` gives its value on this one, and the
    pointer then says that value whichever of them it names; without it, as for another metric, the
    two do not compare, and the best stays, as it does where it is damaged. Raises UserError if the
    version is not published, or the store breaks its promises.
    """
    if not math.isfinite(value):
        return refuse(name, version, f"its {metric} is {value}", value)
    check_promises(store)
    data, manifest = read_manifest(store, name, version)
    candidate = Best(
        version=version,
        metric=metric,
        value=value,
        manifest_sha256=hash_bytes(data),
        dataset=manifest.dataset,
    )
    while True:
        best, token = read_best(store, name)
        rival, why = _find_rival(best, candidate, store, name, judge_again)
        if why:
            return refuse(name, version, f"{why}; delete {locate_best(name)} to begin anew", value)
        winner = candidate if rival is None or candidate.value < rival.value else rival
        try:
            if winner != best:
                store.replace(locate_best(name), winner.to_bytes(), token)
        except Conflict:
            continue  # another version was promoted meanwhile: compare with that one
        return _describe(winner, candidate, rival)


def _find_rival(
    best: Best | None, candidate: Best, store: Store, name: str, judge_again: JudgeAgain | None
) -> tuple[Best | None, str]:
    """What the candidate has to beat, if anything, and why the two do not compare, if so."""
    try:
        rival = _judge_again(best, candidate, store, name, judge_again)
    except IntegrityError as error:
        return best, f"the best can't be judged again: {error}"
    return rival, _find_difference(candidate, rival) if rival else ""


def _judge_again(
    best: Best | None, candidate: Best, store: Store, name: str, judge_again: JudgeAgain | None
) -> Best | None:
    """The best as it is on the candidate's images, where it was judged on others and can be."""
    if best is None or judge_again is None or best.metric != candidate.metric:
        return best
    if best.dataset == candidate.dataset:
        return best
    judged = judge_again(read_manifest(store, name, best.version)[1])
    return best if judged is None else replace(best, value=judged, dataset=candidate.dataset)


def _describe(winner: Best, candidate: Best, rival: Best | None) -> Promotion:
    """What became of the candidate, once the pointer names the winner."""
    if rival is None:
        return Promotion(True, "the first", candidate.value, None)
    best = winner.version == candidate.version
    word = "best so far" if best else f"{rival.version} stays the best"
    return Promotion(best, word, candidate.value, rival.value)


def _find_difference(candidate: Best, best: Best) -> str:
    """Why the values of two versions do not compare; empty if they do."""
    for field in ("dataset", "metric"):
        ours, theirs = getattr(candidate, field), getattr(best, field)
        if ours != theirs:
            return f"its {field} is {ours}, that of the best ({best.version}) is {theirs}"
    return ""


def refuse(name: str, version: str, why: str, value: float) -> Promotion:
    """Leave the pointer alone, and log why."""
    log.warning("%s %s is not promoted: %s", name, version, why)
    return Promotion(False, f"not promoted: {why}", value, None)
