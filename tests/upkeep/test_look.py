"""What is seen of a store, from the records that the pipeline itself writes."""

import json

import pytest

from tests.support.filled_stores import NAME, FilledStore
from vae.registry.curate import promote_by_hand, remove_alias, set_alias
from vae.store.promises import Store
from vae.upkeep.look import collect_texts, look
from vae.upkeep.survey import Survey


def test_an_empty_store_holds_nothing(store: Store) -> None:
    """Neither kind of store has to be there."""
    assert look(store) == Survey()


def test_a_run_is_what_its_records_say(filled: FilledStore) -> None:
    """Its experiment, its stages, its dataset, and where it is published."""
    ref = filled.add_dataset()
    published, begun = filled.add_run("done", "publish", ref), filled.add_run("begun", "")
    survey = look(filled.store)
    run = survey.runs[published.prefix]
    assert (run.run_id, run.experiment, run.dataset) == ("done", NAME, ref.key)
    assert run.recorded == {"data", "search", "train", "evaluate", "publish"}
    assert run.published == f"models/{NAME}/versions/{published.version}"
    assert 1000 < run.size_bytes < survey.size_bytes
    assert (run.damage, run.refusal) == ("", "")
    assert survey.runs[begun.prefix].recorded == set()
    assert survey.runs[begun.prefix].published == ""


def test_versions_and_datasets_are_what_their_records_say(filled: FilledStore) -> None:
    """With the digest by which a version names its dataset."""
    ref = filled.add_dataset()
    prefix = filled.add_version("v1", dataset=ref.digest)
    survey = look(filled.store)
    assert survey.versions[prefix].dataset == survey.datasets[ref.key].digest == ref.digest
    assert survey.versions[prefix].run_id == "run-1"
    assert "manifest.json" in survey.versions[prefix].listed
    assert survey.pointers[NAME].best == "v1"
    assert survey.datasets[ref.key].listed == {"dataset.json", *ref.files}


@pytest.mark.parametrize("record", ["experiment", "data", "train", "publish", "search/trial-0001"])
@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"a": 1}', b"\xff"])
def test_a_damaged_record_is_named_and_hides_no_other(
    filled: FilledStore, record: str, data: bytes
) -> None:
    """The run says so; the one beside it is seen as ever. Trials count until the search is done."""
    run, other = filled.add_run("a", "publish"), filled.add_run("b", "train")
    filled.store.delete(f"{run.prefix}/search.json")
    filled.store.put(f"{run.prefix}/search/trial-0001.json", b"x")
    filled.store.put(f"{run.prefix}/{record}.json", data)
    survey = look(filled.store)
    assert f"{run.prefix}/{record}.json is damaged" in survey.runs[run.prefix].damage
    assert survey.runs[other.prefix].damage == ""


def test_a_run_that_cannot_go_on_says_why(filled: FilledStore) -> None:
    """One without an experiment, as a killed gc leaves it."""
    run = filled.add_run("a", "train")
    filled.store.delete(f"{run.prefix}/experiment.json")
    assert look(filled.store).runs[run.prefix].refusal == "it has no experiment.json"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"version": "v1", "version": "v2"}'])
def test_a_damaged_pointer_is_named(filled: FilledStore, data: bytes) -> None:
    """Of whatever name it is."""
    filled.add_version("v1")
    filled.store.put(f"models/{NAME}/production.json", data)
    assert f"models/{NAME}/production.json" in look(filled.store).pointers[NAME].damage


def test_what_pointers_name(filled: FilledStore) -> None:
    """Every text in such an object may be a version's name, also behind NAME@, until removed."""
    for version in ("v1", "v2", "v3", "v4"):
        filled.add_version(version)
    said = {"production": "v2", "staging": [{"is": f"{NAME}@v3"}]}
    filled.store.put(f"models/{NAME}/aliases.json", json.dumps(said).encode())
    promote_by_hand(filled.store, NAME, "v4", "")
    promote_by_hand(filled.store, NAME, "v1", "")
    set_alias(filled.store, NAME, "v4", "prod", "")
    remove_alias(filled.store, NAME, "prod", "")
    pointers = look(filled.store).pointers[NAME]
    assert (pointers.best, pointers.previous, pointers.damage) == ("v1", "v4", "")
    assert pointers.named & {"v1", "v2", "v3", "v4"} == {"v2", "v3"}


def test_a_damaged_history_is_named(filled: FilledStore) -> None:
    """Then nobody knows which version was the best before, and all of them stay."""
    filled.add_version("v1")
    filled.store.put(f"models/{NAME}/history/1.json", b"{}")
    assert "history/1.json" in look(filled.store).pointers[NAME].damage


def test_texts_are_found_at_any_depth() -> None:
    """In lists, values and keys; numbers are none."""
    assert set(collect_texts({"a": [1, {"b": "m@c"}], "d": None})) == {"a", "b", "m@c", "c", "d"}
