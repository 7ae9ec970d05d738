"""What goes of a real store, and what happens to those who come meanwhile."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.filled_stores import NAME, FilledStore
from tests.support.refusals import catch_refusal
from tests.support.versions import publish_version, write_version
from vae.experiments.loading import load_experiment
from vae.registry.promote import promote
from vae.registry.read import check_published, list_versions
from vae.runs.run import list_runs, mark_at_work, open_run
from vae.store.local import LocalStore
from vae.store.open import open_store
from vae.store.promises import Store
from vae.upkeep.collect import LOCK, Collected, collect, preview
from vae.upkeep.plan import Policy
from vae.upkeep.sweep import make_policy


def list_prefixes(collected: Collected) -> set[str]:
    """The folders that went or would go."""
    return {item.prefix for item in collected.gone}


def publish_run_of(filled: FilledStore, run_id: str, days: float) -> str:
    """A published run of that age with its version; the run's prefix."""
    run = filled.add_run(run_id, "publish", filled.add_dataset())
    filled.add_version(run.version)
    filled.age(run.prefix, days)
    return run.prefix


def test_a_preview_writes_nothing_and_says_what_collecting_does(
    filled: FilledStore, policy: Policy
) -> None:
    """The same things, the same bytes before and after; then there is nothing left to do."""
    publish_run_of(filled, "published", 3)
    filled.add_run("old", "train")
    filled.age("runs/old", 31)
    there = filled.store.list_details()
    promised = preview(filled.store, policy)
    assert filled.store.list_details() == there
    done = collect(filled.store, policy)
    assert (done.gone, done.notes, done.failed) == (promised.gone, promised.notes, [])
    assert done.before_bytes == promised.before_bytes
    assert done.after_bytes == sum(entry.size_bytes for entry in filled.store.list_details())
    assert done.after_bytes == promised.after_bytes < done.before_bytes - 2000
    assert preview(filled.store, policy).gone == []


def test_of_a_published_run_what_trained_it_goes(filled: FilledStore, policy: Policy) -> None:
    """Its records stay until they are old, so that its id goes on meaning what it was."""
    prefix = publish_run_of(filled, "a", 3)
    assert list_prefixes(collect(filled.store, policy)) == {
        f"{prefix}/checkpoints",
        f"{prefix}/search",
    }
    run = open_run(filled.store, "a")
    assert run.read_result("publish")
    assert check_published(filled.store, NAME, run.version)
    filled.age(prefix, 31)
    assert list_prefixes(collect(filled.store, policy)) == {prefix}
    assert list_runs(filled.store) == []
    assert check_published(filled.store, NAME, run.version)


def test_a_run_that_is_not_published_keeps_all_until_it_is_old(
    filled: FilledStore, policy: Policy
) -> None:
    """A record that says so is not enough: the version has to be there."""
    filled.add_run("a", "publish")
    filled.add_run("b", "train")
    for days, gone in ((29, set[str]()), (31, {"runs/a", "runs/b"})):
        filled.age("runs", days)
        assert list_prefixes(preview(filled.store, policy)) == gone


def test_a_run_that_was_continued_is_not_old(filled: FilledStore, policy: Policy) -> None:
    """The mark of whoever continues it counts before anything else is written."""
    run = filled.add_run("a", "train")
    filled.age(run.prefix, 400)
    assert list_prefixes(preview(filled.store, policy)) == {run.prefix}
    mark_at_work(run)
    assert list_prefixes(preview(filled.store, policy)) == set()


def test_scratch_goes_and_the_run_stays(filled: FilledStore, policy: Policy) -> None:
    """Of whatever run that is not at work, empty folders too."""
    for run_id, days in (("quiet", 2.0), ("recent", 0.5)):
        run = filled.add_run(run_id, "search")
        filled.store.put(f"{run.prefix}/ray/x/fit/state", b"x")
        (filled.store.root / run.prefix / "ray" / "y" / "fit").mkdir(parents=True)
        filled.age(run.prefix, days)
    assert list_prefixes(collect(filled.store, policy)) == {"runs/quiet/ray"}
    assert not (filled.store.root / "runs" / "quiet" / "ray").exists()
    assert (filled.store.root / "runs" / "recent" / "ray" / "y").exists()


def test_versions_beyond_the_newest_go(filled: FilledStore, policy: Policy) -> None:
    """The best, the one before it, the two newest and the aliased one stay, and are whole."""
    bounds = {"v1": 9, "v2": 8, "v3": 7, "v4": 1, "v5": 5, "v6": 6, "v7": 7, "v8": 8}
    for version, nll in bounds.items():
        filled.add_version(version, nll)
    filled.store.put(f"models/{NAME}/production.json", b'{"version": "v2"}')
    filled.age("models", 3)
    collect(filled.store, policy)
    left = [info.version for info in list_versions(filled.store, NAME)]
    assert left == ["v2", "v3", "v4", "v7", "v8"]
    for version in left:
        check_published(filled.store, NAME, version)
    assert not filled.store.list(f"models/{NAME}/versions/v1")


def test_a_version_of_a_run_at_work_stays(filled: FilledStore, policy: Policy) -> None:
    """By the run that its manifest names: it may be about to make the version the best."""
    for version in ("v1", "v2", "v3", "v4", "v5"):
        filled.add_version(version, float(version[1]))
    filled.age("models", 3)
    going = {f"models/{NAME}/versions/{version}" for version in ("v2", "v3")}
    assert list_prefixes(preview(filled.store, policy)) == going
    filled.add_run("run-1", "evaluate")
    assert list_prefixes(preview(filled.store, policy)) == set()
    filled.age("runs", 2)
    assert list_prefixes(preview(filled.store, policy)) == going


def test_a_version_that_a_run_begins_with_stays(filled: FilledStore, policy: Policy) -> None:
    """Until it is trained, also if it begins between the two looks; whoever comes later knows."""
    for version in ("v1", "v2", "v3", "v4", "v5"):
        filled.add_version(version, float(version[1]))
    filled.age("models", 3)
    untuned = {"search.trials": 0}
    begin_with = load_experiment(NAME, untuned | {"train.from": f"{NAME}@v2"})
    going = {f"models/{NAME}/versions/{version}" for version in ("v2", "v3")}
    assert list_prefixes(preview(filled.store, policy)) == going
    run = open_run(filled.store, "a", begin_with)
    filled.age("runs", 2)
    assert list_prefixes(preview(filled.store, policy)) == going - {f"models/{NAME}/versions/v2"}
    run.record("train", {})
    filled.age("runs", 2)
    assert list_prefixes(preview(filled.store, policy)) == going
    begin = load_experiment(NAME, untuned | {"train.from": f"{NAME}@v3"})
    store = watch(filled, lambda: open_run(filled.store, "b", begin))
    assert list_prefixes(collect(store, policy)) == {f"models/{NAME}/versions/v2"}
    assert check_published(filled.store, NAME, "v3")
    assert "no version 'v2'" in catch_refusal(open_run, filled.store, "c", begin_with)


def test_a_torn_pointer_keeps_the_model_and_no_other(filled: FilledStore, policy: Policy) -> None:
    """It is said, and the other models are tidied."""
    for name in ("torn", "whole"):
        for version in ("v1", "v2", "v3", "v4", "v5"):
            filled.add_version(version, float(version[1]), name)
    filled.store.put("models/torn/best.json", b"{")
    filled.age("models", 3)
    done = collect(filled.store, policy)
    assert list_prefixes(done) == {f"models/whole/versions/{v}" for v in ("v2", "v3")}
    assert (
        [note for note in done.notes if note.startswith("models/torn stays:")] == done.notes != []
    )


def test_a_pointer_to_nothing_keeps_the_model(filled: FilledStore, policy: Policy) -> None:
    """Its best version is gone: somebody has to look."""
    for version in ("v1", "v2", "v3", "v4"):
        filled.add_version(version, 10 - float(version[1]))
    filled.store.delete(f"models/{NAME}/versions/v4/manifest.json")
    filled.age("models", 3)
    done = collect(filled.store, policy)
    assert list_prefixes(done) == set()
    assert done.notes == [f"models/{NAME} stays: its best version, v4, is not published"]


def test_datasets_that_nothing_names_go(filled: FilledStore, policy: Policy) -> None:
    """One of a run, one of a version and a recent one stay."""
    refs = {name: filled.add_dataset(name) for name in ("of-run", "of-version", "new", "none")}
    filled.add_run("a", "train", refs["of-run"])
    filled.add_version("v1", dataset=refs["of-version"].digest)
    filled.age("datasets", 31)
    filled.age(refs["new"].key, 29)
    assert list_prefixes(collect(filled.store, policy)) == {refs["none"].key}
    assert filled.store.list(refs["none"].key) == []


def test_a_dataset_goes_with_the_last_run_that_names_it(
    filled: FilledStore, policy: Policy
) -> None:
    """Not a week later."""
    ref = filled.add_dataset()
    run = filled.add_run("a", "train", ref)
    filled.age("", 31)
    assert list_prefixes(collect(filled.store, policy)) == {ref.key, run.prefix}
    assert filled.store.list() == []


def test_no_dataset_goes_while_a_run_that_begins_may_need_it(
    filled: FilledStore, policy: Policy
) -> None:
    """It has not come to say which one."""
    filled.add_dataset()
    filled.age("datasets", 31)
    filled.add_run("a", "")
    found = preview(filled.store, policy)
    assert list_prefixes(found) == set()
    assert found.notes == ["datasets stay: runs/a does not say which of them it needs"]


class Meanwhile(LocalStore):
    """A store in which something happens right after the first head was deleted."""

    happens: Callable[[], object] | None = None

    def delete(self, prefix: str) -> None:
        super().delete(prefix)
        if self.happens and prefix.endswith(("manifest.json", "experiment.json", "dataset.json")):
            happens, self.happens = self.happens, None
            happens()


def watch(filled: FilledStore, happens: Callable[[], object]) -> Meanwhile:
    """The same store, where that happens to whoever collects."""
    store = Meanwhile(filled.store.root)
    store.happens = happens
    return store


def test_a_run_that_is_continued_meanwhile_stays(filled: FilledStore, policy: Policy) -> None:
    """It was opened before its experiment went, which is back afterwards; all others go."""
    opened = filled.add_run("a", "train")
    filled.add_run("b", "train")
    filled.age("runs", 31)
    before = filled.store.read("runs/a/experiment.json")
    refusals = list[str]()
    store = watch(filled, lambda: refusals.append(catch_refusal(mark_at_work, opened)))
    assert list_prefixes(collect(store, policy)) == {"runs/a", "runs/b"}
    assert "is being deleted" in refusals[0]  # it came too late, and knows
    filled.add_run("a", "train")
    filled.age("runs", 31)
    store = watch(filled, lambda: store.put("runs/a/at-work.json", b"{}"))
    assert list_prefixes(collect(store, policy)) == set()
    assert (
        json.loads(filled.store.read("runs/a/experiment.json")).keys() == json.loads(before).keys()
    )
    assert open_run(filled.store, "a").read_result("train")


def test_a_version_that_becomes_the_best_meanwhile_stays(
    filled: FilledStore, policy: Policy
) -> None:
    """With the one before it; both are whole again."""
    for version in ("v1", "v2", "v3", "v4", "v5", "v6", "v7"):
        filled.add_version(version, 10 - float(version[1]))
    filled.age("models", 3)
    manifest = filled.store.read(f"models/{NAME}/versions/v3/manifest.json")
    v3 = json.loads(filled.store.read(f"models/{NAME}/best.json")) | {"version": "v3"}
    moved = json.dumps(v3).encode()
    store = watch(filled, lambda: filled.store.put(f"models/{NAME}/best.json", moved))
    gone = list_prefixes(collect(store, policy))
    assert gone == {f"models/{NAME}/versions/{v}" for v in ("v1", "v4", "v5")}
    assert filled.store.read(f"models/{NAME}/versions/v3/manifest.json") == manifest
    for version in ("v2", "v3", "v6", "v7"):
        check_published(filled.store, NAME, version)


def test_a_dataset_that_a_run_begins_to_need_meanwhile_stays(
    filled: FilledStore, policy: Policy
) -> None:
    """The run has begun, and has not come to say so; the dataset is found by whoever looks now."""
    ref = filled.add_dataset()
    filled.age("datasets", 31)
    store = watch(filled, lambda: filled.add_run("a", ""))
    assert list_prefixes(collect(store, policy)) == set()
    assert filled.add_dataset() == ref


def test_an_error_gives_the_heads_back(filled: FilledStore, policy: Policy) -> None:
    """Whatever ends the collection between its two looks."""
    filled.add_run("a", "train")
    filled.age("runs", 31)

    def stop() -> None:
        raise KeyboardInterrupt

    there = filled.store.list()
    with pytest.raises(KeyboardInterrupt):
        collect(watch(filled, stop), policy)
    assert filled.store.list() == there


def test_two_do_not_collect_at_once(filled: FilledStore, policy: Policy) -> None:
    """The second one says who is in its way, unless that one was killed a day ago."""
    filled.add_run("a", "train")
    filled.age("runs", 31)
    said = list[str]()
    store = watch(filled, lambda: said.append(catch_refusal(collect, filled.store, policy)))
    assert list_prefixes(collect(store, policy)) == {"runs/a"}
    assert "another gc is at work" in said[0]
    assert not filled.store.exists(LOCK)
    filled.store.put(LOCK, b"{}")
    assert f"delete {filled.store.uri}/{LOCK}" in catch_refusal(collect, filled.store, policy)
    filled.age("gc", 1.1)
    collect(filled.store, policy)
    assert not filled.store.exists(LOCK)


def test_what_a_killed_one_left_goes_when_it_is_old(filled: FilledStore, policy: Policy) -> None:
    """A run and a version without their heads, which nobody sees."""
    run, prefix = filled.add_run("a", "train"), filled.add_version("v1", 2.0)
    filled.add_version("v2", 1.0)
    filled.store.delete(f"{run.prefix}/experiment.json")
    filled.store.delete(f"{prefix}/manifest.json")
    for days, gone in ((29, set[str]()), (31, {run.prefix, prefix})):
        filled.age("", days)
        assert list_prefixes(preview(filled.store, policy)) == gone


def test_a_clock_that_is_ahead_deletes_nothing(filled: FilledStore) -> None:
    """By it everything would be old; the store's own clock knows better."""
    filled.add_run("a", "train")
    there = filled.store.list()
    ahead = make_policy(2, "30d", filled.now_s + 40.5 * 24 * 3600)
    assert "the clock of this machine is 40 d ahead" in catch_refusal(collect, filled.store, ahead)
    assert filled.store.list() == there


def test_what_cannot_be_deleted_is_said(filled: FilledStore, policy: Policy) -> None:
    """The others go all the same."""

    class Refusing(LocalStore):
        def delete(self, prefix: str) -> None:
            if prefix == "runs/a":
                raise PermissionError("not yours")
            super().delete(prefix)

    filled.add_run("a", "train")
    filled.add_run("b", "train")
    filled.age("runs", 31)
    done = collect(Refusing(filled.store.root), policy)
    assert list_prefixes(done) == {"runs/b"}
    assert done.failed == ["runs/a: PermissionError: not yours"]


def test_both_stores_collect(store: Store, tmp_path: Path) -> None:
    """Versions on either store; what was written just now stays, by the store's own times."""
    for version, nll in (("v1", 3.0), ("v2", 2.0), ("v3", 1.0), ("v4", 4.0)):
        publish_version(store, version, write_version(tmp_path / version, nll), NAME)
        promote(store, NAME, version, nll)
    now_s = time.time()
    assert collect(store, make_policy(1, "12h", now_s)).gone == []
    later = make_policy(1, "12h", now_s + 25 * 3600)
    promised = preview(open_store(store.uri), later)
    assert list_prefixes(promised) == {f"models/{NAME}/versions/v1"}
    assert promised.after_bytes < promised.before_bytes
