"""Checkpoints and models on disk: resume to the bit, damage told and survived."""

import logging
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vae.errors import UserError
from vae.experiments.loading import parse_experiment
from vae.store.open import open_store
from vae.store.promises import Store
from vae.training import checkpoints
from vae.training.checkpoints import History
from vae.training.fit import Fit

PREFIX = "runs/a/checkpoints"
SHAPE = (1, 4, 4)


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    """An empty store in a folder."""
    return open_store(str(tmp_path / "store"))


def fit_of(epochs: int = 4, ema_decay: float = 0.0) -> Fit:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (30, *SHAPE), dtype=torch.uint8, generator=generator)
    settings = {
        "name": "small",
        "model": {"hidden": [8], "latent_dim": 3},
        "train": {"epochs": epochs, "batch_size": 8, "ema_decay": ema_decay},
    }
    return Fit(parse_experiment(settings), images, images[:10], torch.device("cpu"))


def train(fit: Fit, epochs: int) -> History:
    return [fit.run_epoch(fit.state.model, lambda step: None)[0] for _ in range(epochs)]


def tensors(fit: Fit) -> list[Tensor]:
    moments = [entry[key] for entry in fit.state.optimizer.state.values() for key in sorted(entry)]
    models = (fit.state.model, fit.state.averaged)
    return [*moments, *(tensor for model in models for tensor in model.state_dict().values())]


def rows_of(*bounds: float) -> History:
    return [{"epoch": epoch, "val/loss": bound} for epoch, bound in enumerate(bounds, 1)]


def save_epochs(store: Store, n: int) -> None:
    """One checkpoint after each of n epochs, which need no training for their names."""
    fit = fit_of()
    for epoch in range(1, n + 1):
        fit.state.epoch = epoch
        checkpoints.save(store, PREFIX, fit.state, rows_of(*range(epoch)))


def keep_within(store: Store, epoch: int, step: int) -> None:
    """What is kept so many steps after an epoch."""
    fit = fit_of()
    fit.state.epoch, fit.state.step = epoch, step
    fit.state.sums.begin(epoch)
    fit.state.sums.losses = [torch.tensor(1.0)] * step
    checkpoints.keep_step(store, PREFIX, fit.state, rows_of(*range(epoch)), fit.capture_sums())


def places_in(store: Store) -> list[tuple[int, int]]:
    return [found[:2] for found in checkpoints.list_checkpoints(store, PREFIX)]


def epochs_in(store: Store) -> list[int]:
    return [found.epoch for found in checkpoints.list_checkpoints(store, PREFIX)]


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_resumed_equals_uninterrupted(folder: Store, ema_decay: float) -> None:
    """Two epochs, a checkpoint, a new process's state and two more are four epochs to the bit."""
    whole, first, second = (fit_of(ema_decay=ema_decay) for _ in range(3))
    train(whole, 4)
    history = train(first, 2)
    checkpoints.save(folder, PREFIX, first.state, history)
    content = checkpoints.read_latest(folder, PREFIX)
    assert content is not None
    assert checkpoints.restore(second.state, content) == history
    train(second, 2)
    assert (second.state.epoch, second.state.step) == (whole.state.epoch, whole.state.step)
    for ours, theirs in zip(tensors(second), tensors(whole), strict=True):
        assert torch.equal(ours, theirs)


def test_adam_keeps_its_own_options(folder: Store) -> None:
    """What a GPU's Adam was told to do is not taken over with its moments."""
    written, resumed = fit_of(), fit_of()
    train(written, 1)
    (options,) = written.state.optimizer.param_groups
    options |= {"capturable": True, "lr": torch.tensor(0.5)}
    checkpoints.save(folder, PREFIX, written.state, rows_of(1.0))
    (before,) = (dict(group) for group in resumed.state.optimizer.param_groups)
    content = checkpoints.read_latest(folder, PREFIX)
    assert content is not None
    checkpoints.restore(resumed.state, content)
    (after,) = resumed.state.optimizer.param_groups
    assert (after["capturable"], after["lr"]) == (before["capturable"], before["lr"])
    for ours, theirs in zip(tensors(resumed), tensors(written), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty"])
def test_a_damaged_checkpoint(damage: str, folder: Store, caplog: pytest.LogCaptureFixture) -> None:
    """The newest checkpoint's bytes are wrong: one warning names it, the one before is taken."""
    save_epochs(folder, 3)
    newest = checkpoints.list_checkpoints(folder, PREFIX)[0]
    data = folder.read(newest.key)
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    folder.put(newest.key, {"torn": data[:middle], "flipped": flipped, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        content = checkpoints.read_latest(folder, PREFIX)
    assert content is not None
    assert content["epoch"] == 2
    (record,) = caplog.records
    assert newest.key in record.getMessage()


def test_nothing_to_resume(folder: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Without a whole checkpoint there is none, and other objects are not mistaken for one."""
    assert checkpoints.read_latest(folder, PREFIX) is None
    assert checkpoints.read_best(folder, PREFIX, rows_of(1)) is None
    folder.put(f"{PREFIX}/epoch-00001-abc.pt", b"x")
    folder.put(f"{PREFIX}/epoch-00001-{'0' * 64}.pt.tmp", b"x")
    assert checkpoints.read_latest(folder, PREFIX) is None
    assert not caplog.records
    folder.put(f"{PREFIX}/epoch-00001-{'0' * 64}.pt", b"x")
    assert checkpoints.read_latest(folder, PREFIX) is None
    assert len(caplog.records) == 1


def test_the_best_epoch(folder: Store) -> None:
    """The lowest bound decides, the first of equals; its checkpoint is found among the others."""
    save_epochs(folder, 4)
    history = rows_of(math.nan, 1.0, 1.0, 2.0)
    assert checkpoints.find_best_epoch(history) == 2
    content = checkpoints.read_best(folder, PREFIX, history)
    assert content is not None
    assert content["epoch"] == 2


@pytest.mark.parametrize(
    ("bounds", "kept"), [((1, 2, 3, 4, 5), [5, 4, 1]), ((5, 4, 3, 2, 1), [5, 4])]
)
def test_prune(folder: Store, bounds: tuple[float, ...], kept: list[int]) -> None:
    """The best, the latest and the one before it stay; pruning again changes nothing."""
    save_epochs(folder, 5)
    for _ in range(2):
        checkpoints.prune(folder, PREFIX, rows_of(*bounds))
        assert epochs_in(folder) == kept


def test_prune_after_an_epoch_was_trained_again(folder: Store) -> None:
    """Two checkpoints of the latest epoch do not cost the one before it."""
    save_epochs(folder, 4)
    folder.put(f"{PREFIX}/epoch-00004-{'f' * 64}.pt", b"rotten")
    checkpoints.prune(folder, PREFIX, rows_of(1, 2, 3, 4))
    assert epochs_in(folder) == [4, 4, 3, 1]


def test_within_the_first_epoch(folder: Store) -> None:
    """The latest and the one before stay, though no epoch is the best yet; the latest is read."""
    for step in (9, 10, 1_000_000, 10_000_000):
        keep_within(folder, 0, step)
    assert places_in(folder) == [(0, 10_000_000), (0, 1_000_000)]
    content = checkpoints.read_latest(folder, PREFIX)
    assert content is not None
    assert content["step"] == 10_000_000


def test_prune_within_epochs(folder: Store) -> None:
    """One within an epoch is neither the best of that epoch nor kept beyond the one before."""
    save_epochs(folder, 2)
    keep_within(folder, 2, 5)
    assert places_in(folder) == [(2, 5), (2, 0), (1, 0)]
    keep_within(folder, 2, 7)
    assert places_in(folder) == [(2, 7), (2, 5), (1, 0)]
    content = checkpoints.read_best(folder, PREFIX, rows_of(2, 1))
    assert content is None
    fit = fit_of()
    fit.state.epoch = 3
    checkpoints.keep_epoch(folder, PREFIX, fit.state, rows_of(0, 1, 2))
    assert places_in(folder) == [(3, 0), (2, 7), (1, 0)]


def test_prune_leaves_what_it_knows_nothing_of(folder: Store) -> None:
    """Epochs and steps that another process is ahead by are its own to judge."""
    save_epochs(folder, 6)
    keep_within(folder, 6, 5)
    checkpoints.prune(folder, PREFIX, rows_of(1, 2, 3, 4), step=9)
    assert places_in(folder) == [(6, 5), (6, 0), (1, 0)]
    save_epochs(folder, 6)
    checkpoints.prune(folder, PREFIX, rows_of(1, 2, 3, 4), step=9)
    assert places_in(folder) == [(6, 5), *((epoch, 0) for epoch in (6, 5, 4, 3, 1))]


def test_epochs_of_a_search_are_never_trained_by_several_workers(folder: Store) -> None:
    """Where what its trial trained is not there, or cut short, training does not begin."""
    save_epochs(folder, 3)
    content = checkpoints.read_latest(folder, PREFIX)
    for epochs in (0, 3):
        checkpoints.check_reached(content, epochs, PREFIX)
    checkpoints.check_reached(None, 0, PREFIX)
    for found, epochs in ((content, 4), (None, 1)):
        with pytest.raises(UserError, match=f"no whole checkpoint of the {epochs} epochs"):
            checkpoints.check_reached(found, epochs, PREFIX)
