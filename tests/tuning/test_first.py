"""Which candidate a search begins with."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.versions import write_version
from tuning.first import choose_first
from vae.experiments.loading import load_experiment
from vae.experiments.settings import Overrides
from vae.registry.promote import promote
from vae.registry.publish import Origin, publish
from vae.runs.run import Run
from vae.store.open import open_store
from vae.store.promises import Store

BEST: Overrides = {"search.first": "best"}


def begin_run(store: Store, run_id: str, settings: Overrides = BEST) -> Run:
    experiment = load_experiment("tiny", settings)
    return Run(run_id=run_id, experiment=experiment, created=datetime.now(UTC), store=store)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return open_store(str(tmp_path / "store"))


def make_best(store: Store, folder: Path, version: str, nll: float, rate: float) -> None:
    """Publish a version of this learning rate and bound, and promote it."""
    settings = load_experiment("tiny", {"train.learning_rate": rate}).to_dict()
    files = write_version(folder / version, nll)
    publish(store, "tiny", version, files, Origin("r", "d", settings, "", None, ""))
    promote(store, "tiny", version, nll, judge_again=lambda manifest: nll)


def test_a_search_begins_with_the_best_of_its_time(store: Store, tmp_path: Path) -> None:
    """A later best changes nothing for a run that has begun to search."""
    make_best(store, tmp_path, "v1", 95.0, 0.002)
    first = {"model.latent_dim": 8, "train.learning_rate": 0.002}
    run = begin_run(store, "a")
    assert choose_first(run) == first
    make_best(store, tmp_path, "v2", 90.0, 0.005)
    assert choose_first(run) == first
    assert choose_first(begin_run(store, "b")) == first | {"train.learning_rate": 0.005}


def test_without_a_best_the_first_is_drawn(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it is where its settings are outside what is searched, or nobody asked for it."""
    caplog.set_level("INFO")
    run = begin_run(store, "a")
    assert choose_first(run) is None
    make_best(store, tmp_path, "v1", 95.0, 0.1)
    assert choose_first(run) is None  # as it was when the search began
    assert choose_first(begin_run(store, "b")) is None
    assert choose_first(begin_run(store, "c", {})) is None
    assert [record.getMessage() for record in caplog.records] == [
        "search   tiny has no best version: the first is drawn",
        "search   tiny has no best version: the first is drawn",
        "search   tiny@v1 has train.learning_rate = 0.1, which is outside search.space: "
        "the first is drawn",
    ]
