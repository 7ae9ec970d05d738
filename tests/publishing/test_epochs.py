"""Pictures over the epochs: which are kept, and that training does not notice."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.images import draw_images
from vae.experiments.loading import load_experiment
from vae.experiments.settings import ModelConfig
from vae.models.networks import VAE, build_model
from vae.publishing.epochs import (
    AT_MOST,
    KINDS,
    choose_epochs,
    draw_epoch,
    keep_pictures,
    locate,
    read_pictures,
)
from vae.store.local import LocalStore
from vae.training.fit import Fit

IMAGES = draw_images(20, (1, 8, 8), seed=1)


def model_of(seed: int = 0) -> VAE:
    return build_model(ModelConfig(latent_dim=2, hidden=(16,)), (1, 8, 8), seed=seed)


@given(st.integers(1, 5000))
def test_epochs_are_few_and_evenly_spread(total: int) -> None:
    """The first and the last are among them, and no gap is wider than another by more than one."""
    chosen = choose_epochs(total)
    assert chosen[0] == 1 and chosen[-1] == total
    assert len(chosen) == min(total, AT_MOST)
    gaps = np.diff(chosen)
    assert (gaps > 0).all()
    assert gaps.max(initial=0) - gaps.min(initial=total) <= 1


def test_what_is_kept_is_found(tmp_path: Path) -> None:
    """By kind and epoch, of those chosen and no other; an epoch done again is the same picture."""
    store, model = LocalStore(tmp_path), model_of()
    for epoch in [*range(1, 31), 30]:
        keep_pictures(store, "runs/r/pictures", model, IMAGES, epoch, 30)
    store.put("runs/r/pictures/notes.txt", b"somebody's")
    found = read_pictures(store, "runs/r/pictures")
    assert {kind: list(pictures) for kind, pictures in found.items()} == {
        kind: choose_epochs(30) for kind in KINDS
    }
    expected = np.asarray(draw_epoch(model, IMAGES)["samples"].picture)
    assert (np.asarray(found["samples"][30]) == expected).all()


@pytest.mark.parametrize("kept", [0, 30, 200])
def test_a_damaged_picture_is_left_out(
    kept: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And named, for a report of the others is better than none."""
    store, model = LocalStore(tmp_path), model_of()
    for epoch in (1, 2):
        keep_pictures(store, "p", model, IMAGES, epoch, 2)
    damaged = locate("p", 2, "samples")
    store.put(damaged, store.read(damaged)[:kept])
    found = read_pictures(store, "p")
    assert {kind: list(pictures) for kind, pictures in found.items()} == {
        "samples": [1],
        "reconstructions": [1, 2],
    }
    assert damaged in caplog.text


def test_epochs_differ_by_the_weights_alone() -> None:
    """The same model draws the same, whatever was drawn before; another draws something else."""
    first, again, other = (draw_epoch(model_of(seed), IMAGES) for seed in (0, 0, 1))
    for kind in KINDS:
        assert first[kind].picture.tobytes() == again[kind].picture.tobytes()
        assert first[kind].picture.tobytes() != other[kind].picture.tobytes()


def test_training_does_not_notice() -> None:
    """With pictures after every epoch each bit of the weights is as without them."""
    overrides = {"train.batch_size": 5, "train.ema_decay": 0.0}  # the model itself is drawn
    experiment = load_experiment("tiny", overrides)

    def train(watched: bool) -> list[torch.Tensor]:
        fit = Fit(experiment, IMAGES, IMAGES, torch.device("cpu"))
        for _ in range(3):
            fit.run_epoch(fit.state.model, lambda step: None)
            if watched:
                draw_epoch(fit.state.averaged, IMAGES)
        return list(fit.state.model.state_dict().values())

    assert all(map(torch.equal, train(True), train(False)))


@pytest.mark.parametrize("n", [1, 5, 7])
def test_few_images_are_enough(n: int) -> None:
    """A validation split of any size has its picture."""
    sheet = draw_epoch(model_of(), IMAGES[:n])["reconstructions"]
    columns = min(6, n)
    assert (sheet.columns, sheet.rows) == (columns, 2 * (n // columns))
