"""Runs: ids, settings that stay, and results that are written once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.refusals import catch_refusal
from tests.support.versions import publish_version, write_version
from vae.experiments.loading import load_experiment
from vae.experiments.settings import Experiment
from vae.experiments.table import flatten
from vae.files import PLAIN_NAME
from vae.registry.promote import promote
from vae.runs.records import create_record, read_record
from vae.runs.run import (
    AT_WORK,
    RUN_ID,
    RUN_ID_LENGTH,
    list_runs,
    make_run_id,
    mark_at_work,
    open_run,
)
from vae.store.local import LocalStore
from vae.store.open import open_store
from vae.store.promises import Store


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    """An empty store in a folder."""
    return open_store(str(tmp_path / "store"))


def tiny(**changes: Any) -> Experiment:
    return load_experiment("tiny", {name.replace("__", "."): v for name, v in changes.items()})


def test_a_run_is_continued_by_its_id(folder: Store) -> None:
    """Opened again, with the same settings or none, a run is the one that began."""
    began = open_run(folder, "a", tiny(train__epochs=2))
    assert open_run(folder, "a") == began
    assert open_run(folder, "a", tiny(train__epochs=2)) == began
    assert began.prefix == "runs/a"
    assert began.version.endswith("-a")
    assert list_runs(folder) == ["a"]


def test_what_a_run_begins_with_is_chosen_once(folder: Store, tmp_path: Path) -> None:
    """A version that becomes the best later changes only runs that begin later."""
    for number in (1, 2):
        files = write_version(tmp_path / f"v{number}", 90.0 - number)
        publish_version(folder, f"v{number}", files, name="tiny")
    experiment = tiny(train__from="best", search__trials=0)
    starts = list[str]()
    for run_id, version in (("a", "v1"), ("b", "v2")):
        open_run(folder, f"before-{run_id}", experiment)
        promote(folder, "tiny", version, 90.0 - len(starts))
        starts.append(str(open_run(folder, run_id, experiment).start))
    assert starts == ["tiny@v1", "tiny@v2"]
    assert open_run(folder, "before-a", experiment).start is None
    assert str(open_run(folder, "a").start) == "tiny@v1"


def test_a_run_that_is_continued_says_so(folder: Store) -> None:
    """The mark is written anew each time, and changes nothing about the run."""
    began = open_run(folder, "a", tiny())
    for _ in range(2):
        folder.delete(f"runs/a/{AT_WORK}")
        mark_at_work(open_run(folder, "a"))
        assert folder.exists(f"runs/a/{AT_WORK}")
    assert open_run(folder, "a", tiny()) == began


def test_a_run_that_is_being_deleted_is_not_continued(folder: Store) -> None:
    """Its experiment went after it was opened: it is refused, and no mark stays of it."""
    run = open_run(folder, "a", tiny())
    folder.delete("runs/a/experiment.json")
    assert "run 'a' is being deleted" in catch_refusal(mark_at_work, run)
    assert folder.list() == []


def test_a_run_of_another_version_is_refused(folder: Store) -> None:
    """Defaults that came later would be other settings than those that the run began with."""
    open_run(folder, "a", tiny())
    key = "runs/a/experiment.json"
    content = read_record(folder, key, "")
    assert content
    del content["experiment"]["train"]["ema_decay"]
    folder.delete(key)
    create_record(folder, key, content, "")
    for given_experiment in (None, tiny()):
        message = catch_refusal(open_run, folder, "a", given_experiment)
        assert message.startswith("run 'a' was begun by another version of this package")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"train__epochs": 7}, "train.epochs = 3, given 7"),
        ({"model__hidden": [64, 32]}, "model.hidden = [64], given [64, 32]"),
        ({"seed": 1}, "seed = 0, given 1"),
        ({"search__trials": 0}, "search.trials = 2, given 0"),
    ],
)
def test_other_settings_are_refused(folder: Store, changes: dict[str, Any], named: str) -> None:
    """An id with other settings is refused, naming the setting, and the run stays as it began."""
    began = open_run(folder, "a", tiny())
    assert f"run 'a' began with {named}" in catch_refusal(open_run, folder, "a", tiny(**changes))
    assert open_run(folder, "a") == began


def test_a_search_is_given_more_trials(folder: Store) -> None:
    """The run goes on with them, and what the search had come to is to be told anew."""
    open_run(folder, "a", tiny()).record("search", {"trials": [1, 2]})
    folder.put("runs/a/search/trial-0001.json", b"kept")
    grown = open_run(folder, "a", tiny(search__trials=5))
    assert grown.experiment == tiny(search__trials=5)
    assert open_run(folder, "a") == grown
    assert grown.read_result("search") is None
    assert folder.read("runs/a/search/trial-0001.json") == b"kept"
    assert "search.trials = 5, given 2" in catch_refusal(open_run, folder, "a", tiny())


class Grown(LocalStore):
    """A store in which another process gives the run more trials just before it is read to be."""

    def read_token(self, key: str) -> tuple[bytes, str]:
        open_run(LocalStore(self.root), "a", tiny(search__trials=7))
        return super().read_token(key)


def test_a_search_that_two_give_more_trials_keeps_the_most(tmp_path: Path) -> None:
    """Who comes second is told what the run has by then, and takes nothing away."""
    store = Grown(tmp_path / "store")
    open_run(store, "a", tiny())
    said = catch_refusal(open_run, store, "a", tiny(search__trials=5))
    assert "search.trials = 7, given 5" in said
    assert open_run(store, "a").experiment == tiny(search__trials=7)


@pytest.mark.parametrize("later", ["train.json", "checkpoints/0001.pt"])
def test_a_search_whose_winner_is_trained_stays_as_it_is(folder: Store, later: str) -> None:
    """The training is of the old winner."""
    began = open_run(folder, "a", tiny())
    began.record("search", {"trials": [1, 2]})
    folder.put(f"runs/a/{later}", b"trained")
    more = tiny(search__trials=5)
    assert "trains the winner of its 2 trials" in catch_refusal(open_run, folder, "a", more)
    assert open_run(folder, "a").read_result("search") == {"trials": [1, 2]}
    assert open_run(folder, "a") == began


def test_more_trials_with_other_settings_are_refused(folder: Store) -> None:
    """And the run stays as it began."""
    began = open_run(folder, "a", tiny())
    other = tiny(search__trials=5, seed=1)
    assert "began with seed = 0, given 1" in catch_refusal(open_run, folder, "a", other)
    assert open_run(folder, "a") == began


IMPOSSIBLE = ["", ".", "..", "a/b", "a b", "-a", "é", "a\n", "a" * 85, "a\0"]


@pytest.mark.parametrize("run_id", IMPOSSIBLE)
def test_ids_that_can_not_be(folder: Store, run_id: str) -> None:
    """An id that is no plain name is refused before anything is written."""
    assert "must be letters, digits" in catch_refusal(open_run, folder, run_id, tiny())
    assert folder.list() == []


def test_the_longest_id_can_be_published(folder: Store) -> None:
    """The version that a run publishes is a name as well, with the time before the id."""
    assert PLAIN_NAME.fullmatch(open_run(folder, "a" * RUN_ID_LENGTH, tiny()).version)


def test_unknown_runs(folder: Store) -> None:
    """A run that never began can't be continued; the closest id is named, nothing is written."""
    open_run(folder, "mnist-1", tiny())
    before = folder.list()
    assert (
        catch_refusal(open_run, folder, "mnist-2")
        == "unknown run 'mnist-2', did you mean 'mnist-1'?"
    )
    assert folder.list() == before


def test_new_ids() -> None:
    """New ids can be ids, begin with the name and differ."""
    ids = {make_run_id("mnist-conv") for _ in range(20)}
    assert len(ids) > 10
    assert all(RUN_ID.fullmatch(run_id) and run_id.startswith("mnist-conv-") for run_id in ids)


def test_a_result_is_written_once(folder: Store) -> None:
    """The first result of a stage stays, and whoever comes later is given it."""
    run = open_run(folder, "a", tiny())
    assert run.read_result("train") is None
    assert run.record("train", {"epochs": 3}) == {"epochs": 3}
    assert run.record("train", {"epochs": 4}) == {"epochs": 3}
    assert run.read_result("train") == {"epochs": 3}
    assert run.read_result("evaluate") is None


def test_racing_writers_agree(folder: Store) -> None:
    """Of many writers at once one wins, whole, and all of them are told its result."""
    run = open_run(folder, "a", tiny())
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda n: run.record("train", {"by": n, "x": [n] * 1000}), range(16)))
    stored = run.read_result("train")
    assert stored is not None
    assert stored["x"] == [stored["by"]] * 1000
    assert all(result == stored for result in told)


def test_racing_openers_agree(folder: Store) -> None:
    """Many processes that begin the same run at once are all in the same run."""
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: open_run(folder, "a", tiny()), range(8)))
    assert all(run == runs[0] for run in runs)


plain = st.recursive(
    st.integers() | st.text(), lambda inner: st.dictionaries(st.text("ab"), inner, max_size=3)
)


@given(st.dictionaries(st.text("ab", min_size=1), plain, max_size=4))
def test_flattened_keeps_every_leaf(settings: dict[str, Any]) -> None:
    """Every value that is no table is there under the names on its way, and nothing else."""

    def leaves(value: Any, path: tuple[str, ...]) -> list[tuple[str, Any]]:
        if isinstance(value, dict) and value:
            return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))]
        return [(".".join(path), value)]

    expected = leaves(settings, ()) if settings else []
    assert list(flatten(settings).items()) == expected
