"""What is left on a machine beside the store."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.support.filled_stores import DAY_S
from vae.errors import UserError
from vae.scratch import claim_scratch
from vae.upkeep.leftovers import find_leftovers, measure, remove_leftovers
from vae.upkeep.plan import Policy
from vae.upkeep.sweep import make_policy

NOW_S = 1.8e9


@pytest.fixture
def policy() -> Policy:
    """Thirty days, as of a fixed time."""
    return make_policy(2, "30d", NOW_S)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with W&B's and the temporary files in it."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    return tmp_path


def leave(path: Path, files: list[str], days: float) -> Path:
    """A folder of that age with these files of ten bytes each."""
    path.mkdir(parents=True)
    for name in files:
        (path / name).write_bytes(bytes(10))
    for one in [*path.iterdir(), path]:
        os.utime(one, (NOW_S - days * DAY_S,) * 2)
    return path


def test_offline_runs_go_once_they_are_synced_and_old(machine: Path, policy: Policy) -> None:
    """Or kept in the store. Each of their files needs its mark: else it is the only copy."""
    name, file = "offline-run-20260101_020000-", "run-a.wandb"
    marked = [file, f"{file}.synced"]
    going = leave(machine / "wandb" / f"{name}old", marked, 31)
    kept = leave(machine / "wandb" / f"{name}stored", [file, f"{file}.kept"], 31)
    leave(machine / "wandb" / f"{name}new", marked, 29)
    leave(machine / "wandb" / f"{name}unsynced", [file], 400)
    leave(machine / "wandb" / f"{name}half", [*marked, "run-b.wandb"], 400)
    leave(machine / "wandb" / f"{name}empty", [], 400)
    leave(machine / "wandb" / "run-20260101_020000-online", marked, 400)
    leave(machine / "wandb" / "offline-run-mine", marked, 400)
    (machine / "wandb" / f"{name}link").symlink_to(going)
    found = find_leftovers(policy)
    sizes = [(leftover.path, leftover.size_bytes) for leftover in found]
    assert sizes == [(going, 20), (kept, 20)]
    assert remove_leftovers(found) == []
    assert not going.exists()
    assert len(list((machine / "wandb").iterdir())) == 7


def test_temporary_folders_of_ours_go_after_a_day(machine: Path, policy: Policy) -> None:
    """By their names, and by the newest of what is in them."""
    tmp = machine / "tmp"
    kinds = ("bench", "temporary-judge", "temporary-publish", "temporary-search")
    going = [leave(tmp / f"vae-{kind}-x", ["a"], 1.1) for kind in kinds]
    leave(tmp / "vae-temporary-publish-new", ["a"], 0.9)
    leave(tmp / "pymp-x", ["a"], 400)
    leave(tmp / "vae-other-x", ["a"], 400)
    at_work = leave(tmp / "vae-temporary-search-long", ["a"], 400)
    os.utime(at_work / "a", (NOW_S - 60, NOW_S - 60))
    found = find_leftovers(policy)
    assert [leftover.path for leftover in found] == going
    assert remove_leftovers([*found, *found]) == []  # another one may be faster
    assert not any(path.exists() for path in going)
    assert at_work.exists()


def test_there_may_be_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder of W&B's, no temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "none"))
    assert find_leftovers(make_policy(2, "30d", NOW_S)) == []


def test_a_folder_that_has_just_gone() -> None:
    """Its owner has ended between two looks: it takes no room, and is as young as can be."""
    size_bytes, wrote_s = measure(Path("/gone/by/now"))
    assert size_bytes == 0
    assert wrote_s == pytest.approx(time.time(), abs=60)


def test_no_place_for_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said in one line, before a run has begun."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "gone"))
    with pytest.raises(UserError, match=r"^temporary folder .*/gone: No such file or directory;"):
        claim_scratch.__wrapped__()  # this process may have a folder already


CLAIM = """
import sys, tempfile
from vae.scratch import claim_scratch

print(claim_scratch(), tempfile.gettempdir(), flush=True)
sys.stdin.read()
"""


def claim() -> "subprocess.Popen[str]":
    """A process that has a scratch folder, until its input ends."""
    command = [sys.executable, "-c", CLAIM]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_the_scratch_of_a_killed_process_goes(machine: Path, policy: Policy) -> None:
    """At once, by `vae gc` or by the next command, and never while its owner lives."""
    with claim() as first:
        assert first.stdout
        folder, temporary = first.stdout.readline().split()
        assert folder == temporary
        assert Path(folder).parent == machine / "tmp"
        assert find_leftovers(policy) == []
        first.kill()
        first.wait()
        assert [leftover.path for leftover in find_leftovers(policy)] == [Path(folder)]
    with claim() as second:
        assert second.stdout
        left = second.stdout.readline().split()[0]
        assert not Path(folder).exists()
        assert Path(left).exists()
    assert list((machine / "tmp").iterdir()) == []
