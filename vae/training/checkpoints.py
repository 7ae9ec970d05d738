"""Training state in the store, and a model in a directory.

A checkpoint is one object whose name holds its epoch and the SHA-256 of its bytes: it is written
whole or not at all, and a torn or rotten one is recognised before it is loaded. Resume therefore
needs neither Ray's snapshots nor the machine that wrote it.
"""

import hashlib
import io
import json
import logging
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vae.errors import UserError
from vae.models.networks import VAE, ModelConfig, build_model
from vae.store import Store
from vae.training.step import TrainState

log = logging.getLogger("vae.training.checkpoints")
NAME = re.compile(r"epoch-(?P<epoch>\d{5,})-(?P<sha256>[0-9a-f]{64})\.pt")
History = list[dict[str, float]]  # one row of metrics per finished epoch


class Saved(NamedTuple):
    """A checkpoint in the store."""

    epoch: int
    sha256: str
    key: str


def save(store: Store, prefix: str, state: TrainState, history: History) -> Saved:
    """Write the state after an epoch as one object below `prefix`. Rank 0 alone calls it."""
    buffer = io.BytesIO()
    content = {
        "model": state.model.state_dict(),
        "averaged": state.averaged.state_dict(),  # no more bytes where it is the model itself
        "optimizer": state.optimizer.state_dict(),
        "epoch": state.epoch,
        "step": state.step,
        "history": history,
    }
    torch.save(content, buffer)
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    key = f"{prefix}/epoch-{state.epoch:05d}-{digest}.pt"
    store.put(key, buffer.getvalue())
    return Saved(state.epoch, digest, key)


def saved(store: Store, prefix: str) -> list[Saved]:
    """All checkpoints below `prefix`, the latest first."""
    matches = [(NAME.fullmatch(Path(key).name), key) for key in store.list(prefix)]
    found = [Saved(int(m["epoch"]), m["sha256"], key) for m, key in matches if m]
    return sorted(found, reverse=True)


def read(store: Store, checkpoint: Saved) -> dict[str, Any] | None:
    """A checkpoint's content, on the CPU; None, with a warning, if it is not what was saved."""
    data = store.read(checkpoint.key)
    digest = hashlib.sha256(data).hexdigest()
    if digest != checkpoint.sha256:
        log.warning(
            "checkpoint %s is corrupt (sha256 is %s): falling back to the one before",
            checkpoint.key,
            digest,
        )
        return None
    content: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return content


def latest(store: Store, prefix: str) -> dict[str, Any] | None:
    """The content of the newest checkpoint that is whole, or None if there is none."""
    for checkpoint in saved(store, prefix):
        content = read(store, checkpoint)
        if content is not None:
            return content
    return None


def best(store: Store, prefix: str, history: History) -> dict[str, Any] | None:
    """The content of the best epoch's checkpoint, or None if it is not there or not whole."""
    epoch = best_epoch(history)
    for checkpoint in saved(store, prefix):
        content = read(store, checkpoint) if checkpoint.epoch == epoch else None
        if content is not None:
            return content
    return None


def restore(state: TrainState, content: dict[str, Any]) -> History:
    """Continue from a checkpoint's content in place; return the history up to it."""
    state.model.load_state_dict(content["model"])
    state.averaged.load_state_dict(content["averaged"])
    # Adam's moments alone: its options belong to this device, which may be another than the one
    # that the checkpoint was written on.
    options = state.optimizer.state_dict()["param_groups"]
    moments = content["optimizer"]["state"]
    state.optimizer.load_state_dict({"state": moments, "param_groups": options})
    state.epoch, state.step = content["epoch"], content["step"]
    history: History = content["history"]
    return history


def best_epoch(history: History) -> int:
    """The epoch with the lowest validation loss at beta = 1; the first of equals, NaN the last."""

    def loss(row: dict[str, float]) -> float:
        return math.inf if math.isnan(row["val/loss"]) else row["val/loss"]

    return int(min(history, key=loss)["epoch"])


def prune(store: Store, prefix: str, history: History) -> None:
    """Delete what is neither the best, nor the latest, nor the one before it to fall back on.

    Only of the epochs in `history`: another process that is ahead needs those after them.
    """
    checkpoints = [found for found in saved(store, prefix) if found.epoch <= len(history)]
    # By epoch: one that was trained again after its checkpoint rotted has two.
    epochs = sorted({checkpoint.epoch for checkpoint in checkpoints})
    kept = {*epochs[-2:], best_epoch(history)}
    for checkpoint in checkpoints:
        if checkpoint.epoch not in kept:
            store.delete(checkpoint.key)


def save_model(model: VAE, directory: Path) -> None:
    """Write model.safetensors and config.json: all that `load_model` needs, nothing pickled."""
    weights = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    save_file(weights, directory / "model.safetensors")
    config = {"model": asdict(model.config), "shape": model.shape}
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_model(directory: Path | str) -> VAE:
    """The model in a pulled directory, in evaluation mode, on the CPU.

    Raises UserError, naming the file, if a file is missing, is not what it says it is, or does
    not fit the configuration.
    """
    directory = Path(directory)
    config_path, weights_path = directory / "config.json", directory / "model.safetensors"
    for path in (config_path, weights_path):
        if not path.is_file():
            raise UserError(f"{directory} holds no model: {path.name} is missing")
    try:
        described = json.loads(config_path.read_text(encoding="utf-8"))
        settings = described["model"]
        config = ModelConfig(
            **settings
            | {"hidden": tuple(settings["hidden"]), "channels": tuple(settings["channels"])}
        )
        colours, height, width = described["shape"]
        model = build_model(config, (colours, height, width))
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{config_path} describes no model of this package: {error}") from None
    try:
        weights = load_file(weights_path)
        dtype = next((tensor.dtype for tensor in weights.values()), torch.float32)
        model.to(dtype).load_state_dict(weights)
    except (SafetensorError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{weights_path} does not hold this model's weights: {reason}") from None
    return model.eval()
