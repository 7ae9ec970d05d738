"""Training state in the store.

A checkpoint is one object whose name holds where training stood and the SHA-256 of its bytes: it is
written whole or not at all, and a torn or rotten one is recognised before it is loaded. Resume
therefore needs neither Ray's snapshots nor the machine that wrote it.
"""

import io
import logging
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vae.errors import UserError
from vae.files import hash_bytes
from vae.store.promises import Store
from vae.training.batches import Shard
from vae.training.step import TrainState

log = logging.getLogger("vae.training.checkpoints")
NAME = re.compile(r"epoch-(?P<epoch>\d{5,})(-step-(?P<step>\d{7,}))?-(?P<sha256>[0-9a-f]{64})\.pt")
History = list[dict[str, float]]  # one row of metrics per finished epoch


class Checkpoint(NamedTuple):
    """A checkpoint in the store; they sort by where training stood."""

    epoch: int  # epochs finished
    step: int  # updates made in the epoch after; 0 at the end of one
    sha256: str
    key: str


def keep_epoch(store: Store, prefix: str, state: TrainState, history: History) -> None:
    """Save the state after an epoch, and delete what is needed no more. Rank 0 alone calls it."""
    save(store, prefix, state, history)
    prune(store, prefix, history)


def keep_step(
    store: Store, prefix: str, state: TrainState, history: History, sums: dict[str, Any]
) -> None:
    """The same within an epoch, of which `sums` are captured. Rank 0 alone calls it."""
    saved = save(store, prefix, state, history, sums)
    prune(store, prefix, history, saved.step)


def save(
    store: Store,
    prefix: str,
    state: TrainState,
    history: History,
    sums: dict[str, Any] | None = None,
) -> Checkpoint:
    """Write the state as one object below `prefix`; `sums`: of the epoch that is not over, if any.

    Rank 0 alone calls it.
    """
    buffer = io.BytesIO()
    content = {
        "model": state.model.state_dict(),
        "averaged": state.averaged.state_dict(),  # no more bytes where it is the model itself
        "optimizer": state.optimizer.state_dict(),
        "epoch": state.epoch,
        "step": state.step,
        "history": history,
    }
    if sums:
        content["sums"] = sums
    torch.save(content, buffer)
    digest, step = hash_bytes(buffer.getbuffer()), sums["losses"].shape[1] if sums else 0
    within = f"-step-{step:07d}" if sums else ""
    key = f"{prefix}/epoch-{state.epoch:05d}{within}-{digest}.pt"
    store.put(key, buffer.getvalue())
    return Checkpoint(state.epoch, step, digest, key)


def list_checkpoints(store: Store, prefix: str) -> list[Checkpoint]:
    """All checkpoints below `prefix`, the latest first."""
    matches = [(NAME.fullmatch(Path(key).name), key) for key in store.list(prefix)]
    found = [
        Checkpoint(int(m["epoch"]), int(m["step"] or 0), m["sha256"], key)
        for m, key in matches
        if m
    ]
    return sorted(found, reverse=True)


def read_checkpoint(store: Store, checkpoint: Checkpoint) -> dict[str, Any] | None:
    """A checkpoint's content, on the CPU; None, with a warning, if it is not what was saved."""
    data = store.read(checkpoint.key)
    digest = hash_bytes(data)
    if digest != checkpoint.sha256:
        log.warning(
            "checkpoint %s is corrupt (sha256 is %s): falling back to the one before",
            checkpoint.key,
            digest,
        )
        return None
    content: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return content


def read_latest(store: Store, prefix: str) -> dict[str, Any] | None:
    """The content of the newest checkpoint that is whole, or None if there is none."""
    return read_first_whole(store, list_checkpoints(store, prefix))


def read_best(store: Store, prefix: str, history: History) -> dict[str, Any] | None:
    """The content of the best epoch's checkpoint, or None if it is not there or not whole."""
    return read_epoch(store, prefix, find_best_epoch(history))


def read_epoch(store: Store, prefix: str, epoch: int) -> dict[str, Any] | None:
    """The content of an epoch's checkpoint, or None if it is not there or not whole."""
    found = [one for one in list_checkpoints(store, prefix) if one[:2] == (epoch, 0)]
    return read_first_whole(store, found)


def copy_epoch(store: Store, prefix: str, destination: str, epoch: int) -> None:
    """Write what there is of an epoch below `prefix` under the same name below `destination`."""
    for one in list_checkpoints(store, prefix):
        if one[:2] == (epoch, 0):
            store.put(f"{destination}/{Path(one.key).name}", store.read(one.key))


def read_first_whole(store: Store, checkpoints: list[Checkpoint]) -> dict[str, Any] | None:
    """The content of the first checkpoint that is whole, or None if there is none."""
    contents = (read_checkpoint(store, checkpoint) for checkpoint in checkpoints)
    return next((content for content in contents if content is not None), None)


def check_reached(content: dict[str, Any] | None, epochs: int, where: str) -> None:
    """Raise UserError unless a checkpoint's content is of so many epochs or more.

    The winner's trial trains its epochs in one process: several workers would round otherwise.
    """
    if epochs > (content["epoch"] if content else 0):
        raise UserError(
            f"{where} has no whole checkpoint of the {epochs} epochs that the search has trained, "
            "or of a later one: continue the run, and they are taken from its trial again"
        )


def restore(state: TrainState, content: dict[str, Any], shard: Shard = Shard()) -> History:
    """Continue from a checkpoint's content in place; return the history up to it."""
    state.model.load_state_dict(content["model"])
    state.averaged.load_state_dict(content["averaged"])
    # Adam's moments alone: its options belong to this device, which may be another than the one
    # that the checkpoint was written on.
    options = state.optimizer.state_dict()["param_groups"]
    moments = content["optimizer"]["state"]
    state.optimizer.load_state_dict({"state": moments, "param_groups": options})
    state.epoch, state.step = content["epoch"], content["step"]
    if "sums" in content:
        state.sums.restore(content["sums"], state.epoch, shard)
    history: History = content["history"]
    return history


def find_best_epoch(history: History) -> int:
    """The epoch with the lowest validation loss at beta = 1; the first of equals, NaN the last."""

    def loss(row: dict[str, float]) -> float:
        return math.inf if math.isnan(row["val/loss"]) else row["val/loss"]

    return int(min(history, key=loss)["epoch"])


def prune(store: Store, prefix: str, history: History, step: int = 0) -> None:
    """Delete what is neither the best, nor the latest, nor the one before it to fall back on.

    Only up to `step` of the epoch after `history`: another process that is ahead needs the rest.
    """
    here = (len(history), step)
    checkpoints = [found for found in list_checkpoints(store, prefix) if found[:2] <= here]
    # By place: an epoch that was trained again after its checkpoint rotted has two.
    places = sorted({checkpoint[:2] for checkpoint in checkpoints})
    kept = {*places[-2:], *([(find_best_epoch(history), 0)] if history else [])}
    for checkpoint in checkpoints:
        if checkpoint[:2] not in kept:
            store.delete(checkpoint.key)
