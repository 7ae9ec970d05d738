"""Publishing, promoting, listing and pulling, on a local folder and on a real S3 server."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.vanishing import Vanishing
from tests.support.versions import DATASET, best_of, publish_version, write_version
from vae.errors import UserError
from vae.registry.manifest import IntegrityError, Manifest, verify
from vae.registry.names import list_models
from vae.registry.promote import promote
from vae.registry.pull import pull
from vae.registry.read import check_published, find_version_of, list_registry, list_versions
from vae.store.open import open_store
from vae.store.promises import Store


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A small but complete version, ready to be published."""
    return write_version(tmp_path / "built", 0.5)


def test_round_trip(store: Store, directory: Path, tmp_path: Path) -> None:
    """What is pulled is what was published, file by file, by version and as the best."""
    published = publish_version(store, "v1", directory)
    assert promote(store, "m", "v1", 0.5).best
    for version, to in (("v1", tmp_path / "by-version"), ("best", tmp_path / "deep" / "best")):
        assert pull(store, "m", version, to) == verify(to) == published
        for path in directory.iterdir():
            assert (to / path.name).read_bytes() == path.read_bytes()
        assert {path.name for path in to.iterdir()} == {*published.files, "manifest.json"}
        assert [path.name for path in to.parent.glob(".tmp-*")] == []


def test_manifest_says_where_it_comes_from(tmp_path: Path, directory: Path) -> None:
    """The manifest records run, data, experiment and the versions of what made it."""
    manifest = publish_version(open_store(str(tmp_path / "store")), "v1", directory)
    assert (manifest.run_id, manifest.dataset) == ("run-1", DATASET)
    assert manifest.experiment == {"model": {"hidden": [200, 200]}}
    assert {"python", "torch", "ray", "prefect", "wandb", "s3fs"} <= manifest.packages.keys()


def test_lists(store: Store, directory: Path, tmp_path: Path) -> None:
    """Lists show complete versions in order, with their metrics and the best one marked."""
    assert list_models(store) == []
    publish_version(store, "v2", directory)
    publish_version(store, "v1", write_version(tmp_path / "worse", 0.75))
    publish_version(store, "v1", directory, name="other")
    promote(store, "m", "v2", 0.5)
    assert list_models(store) == ["m", "other"]
    versions = [(info.version, info.metrics, info.best) for info in list_versions(store, "m")]
    assert versions == [
        ("v1", {"val/nll": 0.75}, False),
        ("v2", {"val/nll": 0.5}, True),
    ]


def test_a_damaged_version_hides_no_other(store: Store, directory: Path) -> None:
    """It is listed with what is wrong instead of its metrics."""
    for version in ("v1", "v2"):
        publish_version(store, version, directory)
    store.delete("models/m/versions/v1/metrics.json")
    damaged, whole = list_versions(store, "m")
    assert (damaged.metrics, whole.damage) == ({}, "")
    assert "models/m/versions/v1/metrics.json is missing" in damaged.damage
    assert whole.metrics


def test_what_is_deleted_while_it_is_listed_hides_no_other(tmp_path: Path, directory: Path) -> None:
    """A version is left out, and so is a model whose last one goes."""
    store = Vanishing(tmp_path / "store", "models/m/versions/v1")
    for name, version in (("m", "v1"), ("m", "v2"), ("gone", "v1")):
        publish_version(store, version, directory, name)
    assert [info.version for info in list_versions(store, "m")] == ["v2"]
    store.going = "models/gone"
    assert list(list_registry(store)) == ["m"]


@pytest.mark.parametrize("damage", [b"{}", b"torn", b"[]", b"\xff"])
@pytest.mark.parametrize("file", ["manifest.json", "metrics.json"])
def test_damage_is_listed(local: Store, directory: Path, file: str, damage: bytes) -> None:
    """A version whose manifest or metrics are not what was published is no sound one."""
    publish_version(local, "v1", directory)
    local.put(f"models/m/versions/v1/{file}", damage)
    [listed] = list_versions(local, "m")
    assert f"models/m/versions/v1/{file}" in listed.damage
    assert listed.metrics == {}


@pytest.mark.parametrize("file", ["model.safetensors", "metrics.json", "report.html"])
def test_a_damaged_version_is_not_published_again(local: Store, directory: Path, file: str) -> None:
    """Publishing the same again finds what was changed, and does not call it published."""
    publish_version(local, "v1", directory)
    key = f"models/m/versions/v1/{file}"
    whole = local.read(key)
    local.put(key, whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=f"{file} was changed"):
        publish_version(local, "v1", directory)
    local.delete(key)
    with pytest.raises(IntegrityError, match=f"{file} is missing"):
        publish_version(local, "v1", directory)


def test_invisible_until_the_manifest(store: Store, directory: Path, tmp_path: Path) -> None:
    """A publisher that stopped before the manifest left nothing that a reader sees."""
    publish_version(store, "v1", directory)
    for path in directory.iterdir():
        store.create(f"models/m/versions/v2/{path.name}", path.read_bytes())
        store.create(f"models/new/versions/v1/{path.name}", path.read_bytes())
    assert list_models(store) == ["m"]
    assert [info.version for info in list_versions(store, "m")] == ["v1"]
    with pytest.raises(UserError, match="no version 'v2', did you mean 'v1'"):
        pull(store, "m", "v2", tmp_path / "to")
    with pytest.raises(UserError, match="no version 'v2', did you mean 'v1'"):
        promote(store, "m", "v2", 0.1)


def test_resumed_after_every_crash(tmp_path: Path, directory: Path) -> None:
    """Publishing again completes what a crash left after any number of files."""
    for done in range(len(list(directory.iterdir())) + 1):
        store = open_store(str(tmp_path / f"store-{done}"))
        for path in sorted(directory.iterdir())[:done]:
            store.create(f"models/m/versions/v1/{path.name}", path.read_bytes())
        publish_version(store, "v1", directory)
        pull(store, "m", "v1", tmp_path / f"pulled-{done}")


def test_published_again(store: Store, directory: Path, tmp_path: Path) -> None:
    """The same model again changes nothing; another is refused before anything is written."""
    first = publish_version(store, "v1", directory)
    manifest = store.read("models/m/versions/v1/manifest.json")
    (directory / "report.html").write_text("<p>made elsewhere</p>")
    assert publish_version(store, "v1", directory) == first
    other = write_version(tmp_path / "other", 0.25)
    with pytest.raises(UserError, match="already published with other model: a version never"):
        publish_version(store, "v1", other)
    with pytest.raises(UserError, match="with other dataset"):
        publish_version(store, "v1", directory, dataset="e" * 64)
    assert store.read("models/m/versions/v1/manifest.json") == manifest
    pull(store, "m", "v1", tmp_path / "to")


def test_racing_publishers(store: Store, directory: Path) -> None:
    """Publishers of the same version all succeed, with one manifest of what is in the store."""
    folders = [write_version(directory.parent / f"built-{n}", 0.5) for n in range(4)]
    for n, folder in enumerate(folders):
        (folder / "report.html").write_text(f"<p>by publisher {n}</p>")
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(publish_version, store, "v1", folder) for folder in folders]
    assert len({job.result().to_bytes() for job in running}) == 1
    pull(store, "m", "v1", directory.parent / "to")


@pytest.mark.parametrize(
    "name", ["", "..", "a/b", "a\\b", "-a", ".a", "a b", "é", "a" * 101, "a\n"]
)
def test_refused_names(tmp_path: Path, directory: Path, name: str) -> None:
    """A model's or a version's name is letters, digits and -_. alone."""
    store = open_store(str(tmp_path / "store"))
    with pytest.raises(UserError, match="model '"):
        publish_version(store, "v1", directory, name=name)
    with pytest.raises(UserError, match="version '"):
        publish_version(store, name, directory)
    with pytest.raises(UserError, match="version '"):
        pull(store, "m", name, tmp_path / "to")


def test_unknown_names(store: Store, directory: Path, tmp_path: Path) -> None:
    """An unknown model or version is refused with the closest one there is."""
    publish_version(store, "20260101-a", directory, name="mnist-conv")
    with pytest.raises(UserError, match=r"no model 'mnist-cnv' .* did you mean 'mnist-conv'"):
        pull(store, "mnist-cnv", "best", tmp_path / "to")
    with pytest.raises(UserError, match="did you mean 'mnist-conv'"):
        list_versions(store, "mnist-con")
    with pytest.raises(UserError, match="did you mean '20260101-a'"):
        pull(store, "mnist-conv", "20260101-b", tmp_path / "to")
    with pytest.raises(UserError, match="no best version: vae promote mnist-conv@20260101-a"):
        pull(store, "mnist-conv", "best", tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_only_a_better_version_is_promoted(store: Store, directory: Path) -> None:
    """The pointer moves for a strictly lower value; asking again for the best says yes."""
    for version in ("v1", "v2"):
        publish_version(store, version, directory)
    assert promote(store, "m", "v1", 100.0).best
    for value in (100.0, 101.0, float("nan"), float("inf"), float("-inf")):
        assert not promote(store, "m", "v2", value).best
    assert best_of(store).version == "v1"
    assert promote(store, "m", "v1", 100.0).best
    assert promote(store, "m", "v2", 99.5).best
    assert (best_of(store).version, best_of(store).value) == ("v2", 99.5)


def test_nothing_finite_nothing_best(store: Store, directory: Path) -> None:
    """A value that is not a number is not the best, even of one."""
    publish_version(store, "v1", directory)
    assert not promote(store, "m", "v1", float("nan")).best
    assert not store.exists("models/m/best.json")


def test_incomparable_versions(
    store: Store, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A value on other data or of another metric does not compete, and the log says why."""
    publish_version(store, "v1", directory)
    publish_version(store, "v2", directory, dataset="e" * 64)
    publish_version(store, "v3", directory)
    promote(store, "m", "v1", 100.0)
    with caplog.at_level(logging.WARNING):
        assert not promote(store, "m", "v2", 1.0).best
        assert not promote(store, "m", "v3", 1.0, metric="val/mse").best
    assert DATASET in caplog.text
    assert "e" * 64 in caplog.text
    assert "val/mse" in caplog.text
    assert best_of(store).value == 100.0


def test_the_best_is_judged_again_on_other_data(
    store: Store, directory: Path, tmp_path: Path
) -> None:
    """Where the data grew, both are judged on the new images, and the pointer says so."""
    publish_version(store, "v1", directory)
    publish_version(store, "v2", write_version(tmp_path / "2", 0.25), dataset="e" * 64)
    publish_version(store, "v3", write_version(tmp_path / "3", 0.75), dataset="f" * 64)
    promote(store, "m", "v1", 100.0)
    judged: list[str] = []

    def judge(manifest: Manifest) -> float:
        judged.append(manifest.version)
        return 120.0

    lost = promote(store, "m", "v2", 130.0, judge_again=judge)
    assert (lost.best, lost.value, lost.previous) == (False, 130.0, 120.0)
    best = best_of(store)
    assert (best.version, best.value, best.dataset) == ("v1", 120.0, "e" * 64)
    assert not promote(store, "m", "v2", 121.0, judge_again=judge).best
    assert judged == ["v1"], "on the same data there is nothing to judge again"

    won = promote(store, "m", "v3", 119.0, judge_again=judge)
    assert (won.best, won.why, won.previous) == (True, "best so far", 120.0)
    best = best_of(store)
    assert (best.version, best.value, best.dataset) == ("v3", 119.0, "f" * 64)
    other = promote(store, "m", "v1", 1.0, metric="val/mse", judge_again=judge)
    assert not other.best
    assert judged == ["v1", "v1"], "another metric can't be judged again"


def test_a_damaged_best_is_no_rival(
    store: Store, directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it can't be judged on new images, it stays the best, and the reason is told."""
    publish_version(store, "v1", directory)
    publish_version(store, "v2", write_version(tmp_path / "2", 0.25), dataset="e" * 64)
    promote(store, "m", "v1", 100.0)
    store.put("models/m/versions/v1/model.safetensors", b"torn")

    def judge(manifest: Manifest) -> float:
        check_published(store, manifest.name, manifest.version)
        return 120.0

    fared = promote(store, "m", "v2", 1.0, judge_again=judge)
    assert not fared.best
    assert "the best can't be judged again" in fared.why
    assert "versions/v1/model.safetensors was changed" in fared.why
    assert best_of(store).version == "v1"


def test_a_best_whose_folder_was_deleted_is_no_rival(
    store: Store, directory: Path, tmp_path: Path
) -> None:
    """Whether it is gone before it is judged on new images or meanwhile: it is told, with a way."""
    publish_version(store, "v1", directory)
    publish_version(store, "v2", write_version(tmp_path / "2", 0.25), dataset="e" * 64)
    promote(store, "m", "v1", 100.0)

    def judge(manifest: Manifest) -> float:
        store.delete("models/m/versions/v1")
        pull(store, manifest.name, manifest.version, tmp_path / "judged")
        return 120.0

    for _ in range(2):
        fared = promote(store, "m", "v2", 1.0, judge_again=judge)
        assert not fared.best
        assert fared.why == (
            "not promoted: the best (v1) was deleted and can't be judged again; "
            "to prefer it all the same: vae promote m@v2"
        )
    assert best_of(store).version == "v1"


def test_the_newest_version_of_a_recipe_is_found(local: Store, directory: Path) -> None:
    """A night without news finds what was made of the same before, unless that is damaged."""
    for version, recipe in (("v1", "a"), ("v2", "a"), ("v3", "b"), ("v4", "a")):
        publish_version(local, version, directory, recipe=recipe)
    local.put("models/m/versions/v4/manifest.json", b"torn")
    assert find_version_of(local, "m", "a") == "v2"
    assert find_version_of(local, "m", "b") == "v3"
    assert find_version_of(local, "m", "c") is None
    assert find_version_of(local, "none", "a") is None


def test_occupied_destinations(
    tmp_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pulling twice into one folder does nothing; anything else there is left alone."""
    store = open_store(str(tmp_path / "store"))
    publish_version(store, "v1", directory)
    to = tmp_path / "to"
    to.mkdir()
    pull(store, "m", "v1", to)
    (to / "mine.txt").write_text("kept")
    assert pull(store, "m", "v1", to).version == "v1"
    publish_version(store, "v2", directory)
    file = tmp_path / "file"
    file.touch()
    for occupied in (to, file, tmp_path):
        with pytest.raises(UserError, match="give a new folder"):
            pull(store, "m", "v2", occupied)
    with pytest.raises(UserError, match="cannot write"):
        pull(store, "m", "v2", file / "to")
    assert (to / "mine.txt").read_text() == "kept"
    (to / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"config\.json was changed"):
        pull(store, "m", "v1", to)
    monkeypatch.chdir(directory)
    with pytest.raises(UserError, match="current folder"):
        pull(store, "m", "v2", Path())
