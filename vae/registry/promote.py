"""The pointer to the best version is moved: by compare-and-swap, only to a better one."""

import logging
import math

from vae.files import hash_bytes
from vae.registry.manifest import Best
from vae.registry.read import locate_best, read_best, read_manifest
from vae.store.probe import check_promises
from vae.store.promises import Conflict, Store

METRIC = "val/nll"  # by which versions compare: the validation bound, nats per image

log = logging.getLogger(__name__)


def promote(store: Store, name: str, version: str, value: float, *, metric: str = METRIC) -> bool:
    """Make a published version the best if its `value` (nats, lower is better) beats the best's.

    Returns whether `best.json` names this version afterwards. A value that is not finite, or is not
    comparable with the best's because the dataset or the metric differs, is logged and never wins.
    Raises UserError if the version is not published, or the store breaks its promises.
    """
    if not math.isfinite(value):
        log.warning("%s %s is not promoted: its %s is %s", name, version, metric, value)
        return False
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
        if best is not None and not _beats(candidate, best, name):
            return best.version == version
        try:
            store.replace(locate_best(name), candidate.to_bytes(), token)
        except Conflict:
            continue  # another version was promoted meanwhile: compare with that one
        return True


def _beats(candidate: Best, best: Best, name: str) -> bool:
    for field in ("dataset", "metric"):
        ours, theirs = getattr(candidate, field), getattr(best, field)
        if ours != theirs:
            log.warning(
                "%s %s is not promoted: its %s is %s, that of the best (%s) is %s; delete %s to "
                "begin anew with the next version",
                name,
                candidate.version,
                field,
                ours,
                best.version,
                theirs,
                locate_best(name),
            )
            return False
    return candidate.value < best.value
