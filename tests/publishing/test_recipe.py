"""What is the same recipe, and which version a run begun now would only make again."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.versions import write_version
from vae.experiments.loading import load_experiment
from vae.experiments.settings import Experiment, Value
from vae.publishing.recipe import find_cut, find_published, hash_recipe
from vae.registry.lineage import Start, choose_start
from vae.registry.promote import promote
from vae.registry.publish import Origin, publish
from vae.store.open import open_store

START = Start(name="tiny", version="v1", manifest_sha256="0" * 64)
FROM_BEST = load_experiment("tiny", {"train.from": "best", "search.trials": 0})


def test_first_weights_are_part_of_a_recipe_and_budgets_are_not() -> None:
    """Another start is another recipe; a budget that was not needed changes nothing."""
    plain = hash_recipe(FROM_BEST, "d")
    assert hash_recipe(FROM_BEST, "d", START) != plain
    given: dict[str, Value] = {"time_budget": "2h", "search.time_budget": "1h"}
    settings: dict[str, Value] = {"train.from": "best", "search.trials": 0, **given}
    assert hash_recipe(load_experiment("tiny", settings), "d") == plain


def test_what_was_left_undone_is_told() -> None:
    """Fewer trials or epochs than asked for; more trials, of two searches at once, are no cut."""
    experiment = load_experiment("tiny", {"train.epochs": 3, "search.trials": 2})

    def cut(trials: int, epochs: int, *, settled: bool = False) -> str:
        stages: dict[str, Any] = {"search": {"trials": [0] * trials, "settled": settled}}
        return find_cut(experiment, stages | {"train": {"history": [0] * epochs}})

    assert cut(2, 3) == cut(3, 3) == ""
    assert cut(2, 1) == "cut by its time budget after 1 of 3 epochs"
    assert cut(1, 2) == "cut by its time budget after 1 of 2 trials and 2 of 3 epochs"
    assert cut(1, 2, settled=True) == "cut by its time budget after 2 of 3 epochs"
    assert cut(1, 3, settled=True) == ""


class Nights:
    """A store in which nights publish, each beginning with the best of its evening."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, open_store(str(folder / "store"))

    def publish(self, version: str, nll: float, digest: str, cut: str = "") -> None:
        """A night's version, promoted if it is better."""
        start = choose_start(self.store, FROM_BEST)
        recipe = "" if cut else hash_recipe(FROM_BEST, digest, start)
        origin = Origin("r", digest, FROM_BEST.to_dict(), recipe, start, cut)
        publish(self.store, "tiny", version, write_version(self.folder / version, nll), origin)
        promote(self.store, "tiny", version, nll, judge_again=lambda manifest: 95.0)

    def find(self, digest: str, experiment: Experiment = FROM_BEST) -> str | None:
        """The version that makes another night needless."""
        return find_published(self.store, experiment, digest)


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    """Nothing published yet."""
    return Nights(tmp_path)


def test_a_night_after_one_from_the_best_has_nothing_new(nights: Nights) -> None:
    """While the images are the same: not one version after the other of the same ones."""
    assert nights.find("d") is None
    nights.publish("v1", 93.0, "d")
    assert nights.find("d") == "v1"
    assert nights.find("grown") is None
    nights.publish("v2", 90.0, "grown")
    assert nights.find("grown") == "v2"
    other = load_experiment("tiny", {"train.from": "best", "search.trials": 0, "train.epochs": 9})
    assert nights.find("grown", other) is None


def test_a_night_that_did_not_win_is_not_repeated(nights: Nights) -> None:
    """The best is still what it began with: it would end as it did."""
    nights.publish("v1", 93.0, "d")
    nights.publish("v2", 99.0, "grown")
    assert nights.find("grown") == "v2"


def test_what_the_clock_cut_is_not_taken_for_the_whole(nights: Nights) -> None:
    """The next night goes on from it."""
    nights.publish("v1", 93.0, "d", cut="cut by its time budget after 1 of 3 epochs")
    assert nights.find("d") is None
