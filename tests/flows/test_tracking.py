"""What W&B is told of a run, and what is kept of it until W&B has it."""

import gzip
import re
import shlex
from pathlib import Path

import pytest

from flows.tracked_runs import find_left, keep, list_unsent, send, sync, unpack
from flows.tracking import (
    apply_trial,
    describe_config,
    describe_label,
    describe_search,
    read_epoch_pictures,
    refer_to_dataset,
)
from vae.data.datasets import DatasetRef
from vae.errors import UserError
from vae.experiments.loading import load_experiment
from vae.experiments.settings import Value
from vae.runs.attempts import begin_attempt
from vae.runs.confirmations import Confirmation
from vae.runs.run import Run, open_run
from vae.store.open import open_store
from vae.tracking.sync import is_kept
from vae.tracking.values import Picture

REF = DatasetRef(
    key="datasets/digits-0a",
    name="digits",
    digest="0a" * 32,
    shape=(1, 8, 8),
    counts={"train": 3},
    classes=2,
    files={"train.npy": "0b" * 32},
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has just begun."""
    return open_run(open_store(str(tmp_path / "store")), "night-1", load_experiment("tiny"))


def test_a_config_holds_what_a_trial_ran_with(run: Run) -> None:
    """The tuned values stand where the experiment has them, and the rest beside them."""
    overrides = {"model.latent_dim": 7, "train.learning_rate": 0.02}
    config = describe_config(run, apply_trial(run.experiment, overrides), REF)
    assert (config["model"]["latent_dim"], config["train"]["learning_rate"]) == (7, 0.02)
    assert config["train"]["epochs"] == run.experiment.search.epochs
    assert config["train"]["batch_size"] == run.experiment.train.batch_size
    assert (config["run_id"], config["version"]) == ("night-1", run.version)
    assert config["dataset_digest"] == REF.digest
    assert re.match("[0-9a-f]{40}", config["revision"])


def test_labels_tell_runs_apart_and_are_the_same_in_every_attempt(run: Run) -> None:
    """A run id may be taken in two stores, which may be tracked in one project."""
    labels = [describe_label(run, "search", 1), describe_label(run, "search", 2)]
    labels.append(describe_label(run, "train"))
    assert len({label.run_id for label in labels}) == len({label.name for label in labels}) == 3
    assert all(label.run_id.startswith(run.version) for label in labels)
    again = open_run(run.store, "night-1")
    assert describe_label(again, "train") == labels[2]
    assert labels[2].notes == f"vae run --run-id night-1 --store {shlex.quote(run.store.uri)}"
    assert labels[0].tags[:2] == ("tiny", "search")


def test_what_a_search_taught_is_a_summary() -> None:
    """A share for each setting, mean and spread of each candidate; nothing for what is unknown."""
    overrides: dict[str, Value] = {"model.latent_dim": 4}
    failed = Confirmation(number=12, overrides=overrides, losses=[3.0, None], errors=["nan"])
    known = Confirmation(number=2, overrides=overrides, losses=[3.0, 5.0], errors=[])
    own = Confirmation(number=0, overrides=overrides, losses=[3.5, 6.5], errors=[], own=True)
    confirmed = [known.to_dict(), own.to_dict()]
    result = {"importance": {"model.latent_dim": 1.0}, "confirmed": confirmed}
    assert describe_search(result) == {
        "importance/model/latent_dim": 1.0,
        "confirmed/trial-02/mean": 4.0,
        "confirmed/trial-02/spread": pytest.approx(2**0.5),
        "confirmed/own/mean": 5.0,
        "confirmed/own/spread": pytest.approx(4.5**0.5),
        "confirmed/gain/mean": 1.0,
        "confirmed/gain/spread": pytest.approx(0.5**0.5),
    }
    assert describe_search({"importance": {}, "confirmed": [failed.to_dict()]}) == {}


def test_a_dataset_is_where_it_lies_in_the_store() -> None:
    """W&B gets names and digests."""
    reference = refer_to_dataset(REF, "s3://bucket/store")
    assert reference.uri == "s3://bucket/store/datasets/digits-0a"
    assert reference.files == REF.files


def test_the_pictures_of_an_epoch(run: Run) -> None:
    """Of that epoch alone, under the name of what they show."""
    for name in ("epoch-00001-samples.png", "epoch-00012-samples.png", "epoch-00012-notes.txt"):
        run.store.put(f"{run.prefix}/pictures/{name}", name.encode())
    picture = Picture(b"epoch-00012-samples.png", "epoch 12")
    assert read_epoch_pictures(run, 12) == {"pictures/samples": picture}
    assert read_epoch_pictures(run, 2) == {}


def test_attempts_are_counted(run: Run) -> None:
    """In the store, wherever they were made."""
    assert [begin_attempt(run) for _ in range(3)] == [1, 2, 3]


def test_a_tracked_run_is_kept_and_comes_back_as_it_was(run: Run, tmp_path: Path) -> None:
    """All of it but its logs; the store has its last state, which the folder says."""
    folder = tmp_path / f"offline-run-20260101_000000-{run.version}-train"
    for name in ("run-a.wandb", "files/media/a.png", "logs/debug.log"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    keep(run, [folder])
    (folder / "run-a.wandb").write_bytes(b"more of it")
    keep(run, [folder])
    assert is_kept(folder)
    (key,) = list_unsent(run.store, run.run_id)
    back = unpack(run.store.read(key), tmp_path / "back")
    found = {str(path.relative_to(back)) for path in back.rglob("*") if path.is_file()}
    assert (back.name, found) == (folder.name, {"run-a.wandb", "files/media/a.png"})
    assert (back / "run-a.wandb").read_bytes() == b"more of it"


EMPTY = gzip.compress(bytes(10240), mtime=0)  # as tar writes it
ZIPPED = gzip.compress(b"no archive", mtime=0)


@pytest.mark.parametrize("kept", [b"", b"no archive", ZIPPED, ZIPPED[:9], EMPTY])
def test_what_is_no_tracked_run_stands_in_nobodys_way(
    run: Run, caplog: pytest.LogCaptureFixture, kept: bytes
) -> None:
    """An archive that a power cut left empty or torn is named, and those beside it are sent."""
    run.store.put(f"{run.prefix}/wandb/offline-run-1.tar.gz", kept)
    assert send(run.store, list_unsent(run.store, run.run_id)) == 0
    assert "wandb/offline-run-1.tar.gz holds no W&B run" in caplog.text


def test_what_a_killed_session_left_is_found(run: Run, tmp_path: Path) -> None:
    """Of this run alone, and only what there is and W&B does not have."""
    (tmp_path / "wandb" / f"offline-run-20260100_000000-{run.version}-empty").mkdir(parents=True)
    for stamp, name in (("1", run.version), ("2", f"{run.version}0"), ("3", run.version)):
        folder = tmp_path / "wandb" / f"offline-run-2026010{stamp}_000000-{name}-train"
        folder.mkdir(parents=True)
        (folder / "run-a.wandb").touch()
    (folder / "run-a.wandb.synced").touch()
    (found,) = find_left(run, tmp_path)
    assert found.name == f"offline-run-20260101_000000-{run.version}-train"


def test_nothing_to_send_needs_no_account(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What W&B has is marked in the store; an unknown server would be asked for what it lacks."""
    run.store.put(f"{run.prefix}/wandb/offline-run-1.tar.gz", b"")
    run.store.put(f"{run.prefix}/wandb/offline-run-1.sent", b"")
    assert list(sync(run.store, None)) == ["W&B has everything that was tracked"]
    run.store.put(f"{run.prefix}/wandb/offline-run-2.tar.gz", b"")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"W&B's server http://127.0.0.1:9 does not answer"):
        list(sync(run.store, None))
