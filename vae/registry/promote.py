"""The pointer to the best version is moved: by compare-and-swap, only to a better one."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from vae.files import hash_bytes
from vae.registry.manifest import IntegrityError, Manifest, NoVersionError
from vae.registry.pointers import BEST, Best, Move, move_pointer, read_best
from vae.registry.read import read_manifest
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
    two do not compare, and the best stays, as it does where it is damaged or was deleted. Raises
    UserError if the version is not published, or the store breaks its promises.
    """
    if not math.isfinite(value):
        return refuse(name, version, f"its {metric} is {value}", value)
    check_promises(store)
    data, manifest = read_manifest(store, name, version)
    digest, dataset = hash_bytes(data), manifest.dataset
    candidate = Best(
        version=version, metric=metric, value=value, manifest_sha256=digest, dataset=dataset
    )
    while True:
        best, token = read_best(store, name)
        rival, why = _find_rival(best, candidate, store, name, judge_again)
        if why:
            way_out = f"to prefer it all the same: vae promote {name}@{version}"
            return refuse(name, version, f"{why}; {way_out}", value)
        winner = candidate if rival is None or candidate.value < rival.value else rival
        told = _describe(winner, candidate, rival)
        try:
            if winner != best:
                new = replace(winner, move=_make_move(winner, best, told, manifest.run_id))
                move_pointer(store, name, BEST, new, (best, token))
        except Conflict:
            continue  # another version was promoted meanwhile: compare with that one
        return told


def _make_move(winner: Best, best: Best | None, told: Promotion, run: str) -> Move:
    """The record of a pointer that comes to say `winner` where it said `best`."""
    if best is None:
        return Move.now("", "better", told.why, run)
    if best.version == winner.version:
        why = f"now {winner.value:.2f}, was {best.value:.2f} on other data"
        return Move.now(best.version, "judged again", why, run)
    why = f"{winner.metric}: {winner.value:.2f} against {told.previous:.2f}"
    return Move.now(best.version, "better", why, run)


def _find_rival(
    best: Best | None, candidate: Best, store: Store, name: str, judge_again: JudgeAgain | None
) -> tuple[Best | None, str]:
    """What the candidate has to beat, if anything, and why the two do not compare, if so."""
    try:
        rival = _judge_again(best, candidate, store, name, judge_again)
    except NoVersionError:
        deleted = best.version if best else ""
        return best, f"the best ({deleted}) was deleted and can't be judged again"
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


def name_metric(experiment: Mapping[str, Any]) -> str:
    """By what versions compare: another likelihood or binarisation has bounds of another scale.

    `experiment`: as a manifest has it; version 0.1 knew but one likelihood.
    """
    data = experiment.get("data", {})
    likelihood = experiment.get("model", {}).get("likelihood", "bernoulli")
    if likelihood != "bernoulli":
        pixels = "real numbers" if likelihood == "gaussian" else "256 levels"
        return f"{METRIC} of {pixels}, {likelihood}"
    if data.get("binarize") == "none":
        return f"{METRIC} of grey levels"
    return f"{METRIC} of binarisation {data.get('binarize_seed')}"
