"""What a report finds of a run, at each stage of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.images import draw_images
from tests.support.splits import load
from tests.support.vanishing import Vanishing
from tests.support.versions import publish_version, write_version
from vae.data.datasets import prepare
from vae.errors import UserError
from vae.experiments.loading import load_experiment
from vae.publishing.embedding import CAPTIONS
from vae.publishing.epochs import choose_epochs, keep_pictures
from vae.publishing.publication import publish_run
from vae.publishing.report.findings import gather_findings, read_versions
from vae.publishing.report.page import render_page
from vae.runs.run import Run, open_run
from vae.store.local import LocalStore
from vae.training import checkpoints
from vae.training.fit import Fit

EPOCHS = 3
TIME = {"time": {"seconds": 1.0, "compute_s": 0.5}}
TRIAL = {
    "number": 1,
    "overrides": {"model.latent_dim": 3},
    "loss": 5.0,
    "epochs": 1,
    "stopped": False,
    "spans": [],
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run on images of noise, whose dataset is in the store and which has done nothing yet."""
    np.save(tmp_path / "set.npy", draw_images(80, (1, 8, 8)).numpy())
    overrides: dict[str, Any] = {
        "data.name": str(tmp_path / "set.npy"),
        "data.validation": 10,
        "data.limit": 0,
        "train.epochs": EPOCHS,
        "train.batch_size": 10,
    }
    return open_run(LocalStore(tmp_path / "store"), "r", load_experiment("tiny", overrides))


def record_data(run: Run) -> None:
    run.record("data", {"dataset": prepare(run.experiment.data, run.store).to_json()} | TIME)


def record_search(run: Run) -> None:
    search: dict[str, Any] = {"overrides": TRIAL["overrides"], "trials": [TRIAL]}
    search |= {"importance": {}, "confirmed": []}
    run.record("search", search | TIME)


def train(run: Run, epochs: int) -> checkpoints.History:
    """Train as rank 0 of a worker does, as far as that."""
    found = gather_findings(run)
    assert found.ref is not None and found.model is None
    data, val = (
        torch.from_numpy(load(found.ref, run.store, split).images) for split in ("train", "val")
    )
    fit, history = Fit(found.experiment, data, val, torch.device("cpu")), list[dict[str, float]]()
    while fit.state.epoch < epochs:
        history.append(fit.run_epoch(fit.state.model, lambda step: None)[0])
        model, epoch = fit.state.averaged, fit.state.epoch
        keep_pictures(run.store, f"{run.prefix}/pictures", model, val, epoch, EPOCHS)
        checkpoints.keep_epoch(run.store, f"{run.prefix}/checkpoints", fit.state, history)
    return history


def test_a_run_that_has_only_begun(run: Run) -> None:
    """There is a page to look at from the first second, and it says what is missing."""
    found = gather_findings(run)
    assert found.missing == ["data", "search", "train", "evaluate"]
    assert "data, search, train, evaluate still missing" in render_page(found)


def test_a_search_under_way_shows_the_trials_that_ended(run: Run) -> None:
    """By their own records, while the stage has none."""
    record_data(run)
    run.record("search/trial-0001", TRIAL)
    found = gather_findings(run)
    assert [trial.number for trial in found.trials] == [1]
    assert "1 of 2 trials have ended" in render_page(found)


def test_a_training_under_way_shows_its_best_epoch_on_validation_images(run: Run) -> None:
    """Metrics, pictures and the model are those of the newest checkpoint; no test image is."""
    record_data(run)
    record_search(run)
    train(run, 2)
    found = gather_findings(run)
    assert found.model is not None and found.model.latent_dim == 3
    assert [row["epoch"] for row in found.history] == [1, 2]
    assert {kind: list(pictures) for kind, pictures in found.epochs.items()} == {
        "samples": [1, 2],
        "reconstructions": [1, 2],
    }
    assert found.kind == "validation" and found.examples is not None
    assert len(found.examples.images) == 10
    assert "2 of 3 epochs are trained" in render_page(found)


def test_a_published_run_has_its_report_after_its_checkpoints_went(run: Run) -> None:
    """The model is read from the version then; the page is the same but for the pictures."""
    record_data(run)
    record_search(run)
    history = train(run, EPOCHS)
    best = checkpoints.find_best_epoch(history)
    run.record("train", {"history": history, "best_epoch": best, "val/nll": 50.0} | TIME)
    names = ("nelbo", "nll", "rate", "distortion", "bits_per_dim", "active_units")
    metrics = {"val/nll": 50.0, "test/nll_samples": 10.0} | {f"test/{one}": 1.0 for one in names}
    run.record("evaluate", {"metrics": metrics} | TIME)
    found = gather_findings(run)
    assert found.missing == [] and found.kind == "test"
    assert found.model is not None and found.ref is not None
    published = publish_run(run, found.experiment, found.ref, found.model, dict(found.stages))
    folder = f"models/{found.experiment.name}/versions/{published.version}"
    page = run.store.read(f"{folder}/report.html").decode()
    assert all(f'data-name="epoch {epoch}"' in page for epoch in choose_epochs(EPOCHS))
    assert set(published.pictures) == CAPTIONS.keys()
    run.record("publish", {"version": published.version})
    run.store.delete(f"{run.prefix}/checkpoints")
    assert render_page(gather_findings(run)) == page


def test_versions_that_do_not_compare_are_left_out(run: Run, tmp_path: Path) -> None:
    """Of other pixels; damaged; deleted just when they are listed."""
    ref, files = prepare(run.experiment.data, run.store), write_version(tmp_path / "built", 0.5)
    name = run.experiment.name
    store = Vanishing(tmp_path / "store", f"models/{name}/versions/v1")
    same = run.experiment.to_dict()
    grey = same | {"data": same["data"] | {"binarize": "none"}}
    for version, experiment in (("v1", same), ("v2", same), ("v3", same), ("v4", grey)):
        publish_version(store, version, files, name, ref.digest, experiment=experiment)
    store.put(f"models/{name}/versions/v2/metrics.json", b"torn")
    found = read_versions(replace(run, store=store), run.experiment, ref)
    assert [one.version for one in found] == ["v3"]


def test_what_is_damaged_is_named(run: Run) -> None:
    """A report of half the truth would be worse than none."""
    record_data(run)
    run.store.put(f"{run.prefix}/search.json", b"{}")
    with pytest.raises(UserError, match=r"search\.json is damaged"):
        gather_findings(run)
