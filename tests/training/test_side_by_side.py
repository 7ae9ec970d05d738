"""Trainings in one process: each comes to what it would alone, whatever befalls the others."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.images import draw_images
from vae.data.placement import place_rows
from vae.experiments.loading import parse_experiment
from vae.training.fit import Fit
from vae.training.interleaved import Outcome, train_interleaved
from vae.training.stacked import Stacks, find_shape
from vae.training.step import DivergedError

SHAPE, EPOCHS, CPU = (1, 4, 4), 3, torch.device("cpu")
TRAIN, VAL = draw_images(30, SHAPE), draw_images(10, SHAPE, 1)  # the last batch holds 6
DENSE: dict[str, Any] = {"hidden": [8], "latent_dim": 3}
CONV: dict[str, Any] = DENSE | {"kind": "ConvVAE", "channels": [2, 3], "residual_blocks": 1}
LEVELS: dict[str, Any] = DENSE | {"likelihood": "logistic", "scale": "channel"}
NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "dense": (DENSE, {}),
    "gated, weighted": (DENSE | {"activation": "glu"}, {"kind": "dreg", "samples": 3}),
    "convolutional": (CONV | {"normalization": "group"}, {"warmup_epochs": 2, "samples": 2}),
}
# What those of a stack may differ in, latents with the ELBO alone; one of another batch size; one
# that diverges.
CHANGES: list[dict[str, dict[str, Any] | int]] = [
    {"train": {"learning_rate": 0.003, "grad_clip": 0.5}},
    {"train": {"schedule": "cosine", "ema_decay": 0.0}, "seed": 1},
    {"train": {"ema_decay": 0.5, "epochs": EPOCHS + 1}, "model": {"latent_dim": 5}},
    {"train": {"batch_size": 7}},
    {"train": {"learning_rate": 1e30}},
]


def build_fit(network: str, changes: dict[str, Any]) -> Fit:
    """A training of the images."""
    model, objective = NETWORKS[network]
    train = {"epochs": EPOCHS, "batch_size": 8, "learning_rate": 0.01, "precision": "float64"}
    settings = {"name": "small", "objective": objective, "seed": changes.get("seed", 0)}
    settings |= {"model": model | changes.get("model", {}), "train": train | changes["train"]}
    placed = place_rows(TRAIN, CPU)
    return Fit(parse_experiment(settings), TRAIN, VAL, CPU, placed=placed)


def list_tensors(fit: Fit) -> list[Tensor]:
    """Weights, their average and Adam's moments."""
    moments = [one[key] for one in fit.state.optimizer.state.values() for key in sorted(one)]
    return [*fit.state.model.parameters(), *fit.state.averaged.parameters(), *moments]


def run_alone(fit: Fit) -> Outcome:
    """An epoch of the training by itself."""
    try:
        return fit.run_epoch(fit.state.model, lambda step: None)[0]
    except DivergedError as error:
        return error


def check_same(outcome: Outcome, expected: Outcome, tolerance: float) -> None:
    """An epoch came to the same, but for its times."""
    if isinstance(expected, Exception):
        assert repr(outcome) == repr(expected)
        return
    assert isinstance(outcome, dict)
    for name in expected.keys() - {"images_per_s", "data_wait_s", "began", "ended"}:
        rounding = 1e-6 if tolerance else 0  # norms are summed in float32
        assert outcome[name] == pytest.approx(expected[name], rel=rounding, abs=rounding), name


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("way", "tolerance"), [("interleaved", 0.0), ("stacked", 1e-9)])
def test_each_is_what_it_would_be_alone(network: str, way: str, tolerance: float) -> None:
    """Bit for bit in turn, to rounding in a stack; one comes later, one leaves, one diverges."""
    train = train_interleaved if way == "interleaved" else Stacks().train
    fits = [build_fit(network, changes) for changes in CHANGES]
    alone = [build_fit(network, changes) for changes in CHANGES]
    for rows in ([0, 1, 3, 4], [0, 1, 2, 3], [0, 2], [0, 1, 2]):
        outcomes = train([fits[row] for row in rows])
        for row, outcome in zip(rows, outcomes, strict=True):
            check_same(outcome, run_alone(alone[row]), tolerance)
    for ours, theirs in zip(fits[:-1], alone[:-1], strict=True):  # the last has diverged
        pairs = list_tensors(ours), list_tensors(theirs)
        torch.testing.assert_close(*pairs, rtol=tolerance, atol=tolerance)


def test_what_is_stacked() -> None:
    """Trainings of one shape and batch size; with the ELBO whatever their latents are.

    A likelihood with weights of its own is trained alone.
    """
    levels = parse_experiment({"name": "small", "model": LEVELS, "data": {"binarize": "none"}})
    ours, theirs = (find_shape(Fit(levels, TRAIN, VAL, CPU)) for _ in range(2))
    assert ours != theirs
    for network in NETWORKS:
        first, *others = (find_shape(build_fit(network, changes)) for changes in CHANGES)
        latents_differ = network != "gated, weighted"
        assert [other == first for other in others] == [True, latents_differ, False, True]
