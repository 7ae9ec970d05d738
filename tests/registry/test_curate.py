"""What people do with versions: choose the best by hand, go back, name, delete, look at."""

import fcntl
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.refusals import catch_refusal
from tests.support.versions import best_of, publish_version, write_version
from vae.errors import UserError
from vae.files import TEMPORARY, hash_bytes
from vae.registry.curate import (
    delete_version,
    promote_by_hand,
    remove_alias,
    roll_back,
    set_alias,
)
from vae.registry.manifest import verify
from vae.registry.names import match_version, shorten
from vae.registry.pointers import BEST, list_moves
from vae.registry.promote import promote
from vae.registry.pull import WEIGHTS, pull
from vae.registry.read import list_versions, resolve
from vae.registry.table import describe_version, find_changes, format_moves, format_versions
from vae.store.promises import Store

VERSIONS = ("20260101T000000-a", "20260102T000000-b", "20260102T000000-c")


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Store:
    """A store with three versions, each better than the one before, and all promoted in turn."""
    fill(store, tmp_path)
    return store


@pytest.fixture
def full(local: Store, tmp_path: Path) -> Store:
    """The same in a folder."""
    fill(local, tmp_path)
    return local


def fill(store: Store, tmp_path: Path) -> None:
    for number, version in enumerate(VERSIONS):
        publish_version(store, version, write_version(tmp_path / version, 90.0 - number))
        assert promote(store, "m", version, 90.0 - number).best


def told(store: Store) -> list[tuple[str, str, str, str]]:
    """The history: which pointer, from where, to where, how."""
    return [
        (pointer, says.move.previous, says.version, says.move.kind)
        for pointer, says in list_moves(store, "m")
        if says.move
    ]


def test_every_move_is_in_the_history(filled: Store) -> None:
    """Who moved what, when, from where to where, and why; going back twice goes two back."""
    a, b, c = VERSIONS
    assert roll_back(filled, "m", "blurred").version == b
    assert roll_back(filled, "m", "blurred too").version == a
    assert promote_by_hand(filled, "m", c, "it was not").value == 88.0
    set_alias(filled, "m", b, "prod", "for the shop")
    set_alias(filled, "m", c, "prod", "better")
    assert remove_alias(filled, "m", "prod", "closed").version == c
    delete_version(filled, "m", b, "blurred")
    assert told(filled) == [
        ("best", "", a, "better"),
        ("best", a, b, "better"),
        ("best", b, c, "better"),
        ("best", c, b, "rolled back"),
        ("best", b, a, "rolled back"),
        ("best", a, c, "by hand"),
        ("prod", "", b, "by hand"),
        ("prod", b, c, "by hand"),
        ("prod", c, c, "removed"),
        ("", b, b, "deleted"),
    ]
    moves = [says.move for _, says in list_moves(filled, "m")]
    assert [move.run for move in moves if move][:4] == ["run-1", "run-1", "run-1", ""]
    assert all(move and move.host and move.why and move.when > "2026" for move in moves)
    lines = format_moves(list_moves(filled, "m"))
    assert [line.partition("  ")[2] for line in lines[-4::2]] == [f"@prod: {c} → none", b]
    assert lines[-1].strip().startswith("deleted, by ") and lines[-1].endswith(": blurred")


def test_a_mover_that_is_killed_takes_no_record_away(full: Store) -> None:
    """What a pointer says is written into the history again before it says anything else."""
    before = told(full)
    for key in full.list("models/m/history"):
        if VERSIONS[2] in full.read(key).decode():
            full.delete(key)
    assert told(full) == before[:-1]
    roll_back(full, "m", "")
    assert told(full)[:3] == before


def test_a_pointer_of_version_0_1_is_read(full: Store) -> None:
    """It doesn't say how it was moved; from now on it does, and going back asks for a name."""
    plain = json.loads(full.read("models/m/best.json"))
    del plain["move"]
    full.put("models/m/best.json", json.dumps(plain).encode())
    full.delete("models/m/history")
    assert "names no version before its best" in catch_refusal(roll_back, full, "m", "")
    promote_by_hand(full, "m", VERSIONS[0], "")
    assert told(full) == [("best", VERSIONS[2], VERSIONS[0], "by hand")]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("best", 2),
        ("latest", 2),
        ("prod", 0),
        (VERSIONS[1], 1),
        ("20260101", 0),
        ("20260102T000000-b", 1),
    ],
)
def test_versions_by_any_name(full: Store, given: str, meant: int) -> None:
    """A version is meant by a pointer, whole, or by as much as no other begins with."""
    set_alias(full, "m", VERSIONS[0], "prod", "")
    assert resolve(full, "m", given)[1].version == VERSIONS[meant]


def test_versions_that_nobody_can_mean(full: Store) -> None:
    """Refused in one line: too little, nothing like it, more than one."""
    assert "2 versions" in catch_refusal(resolve, full, "m", "20260102")
    assert "no version '2x'" in catch_refusal(resolve, full, "m", "2x")
    assert "did you mean '20260101T000000-a'" in catch_refusal(resolve, full, "m", "20260101T0-a")
    for alias in ("best", "latest", "1", "a/b", ""):
        assert "alias" in catch_refusal(set_alias, full, "m", VERSIONS[0], alias, "")


def test_short_names_are_unique_and_mean_their_version() -> None:
    """Fifteen characters at least, as many more as it takes."""
    names = [*VERSIONS, "20260102T000000-bc", "odd"]
    short = shorten(names)
    assert short[VERSIONS[0]] == "20260101T000000"
    assert short[VERSIONS[2]] == VERSIONS[2]
    for version in VERSIONS:
        assert match_version(short[version], names, "m") == version


def test_an_alias_that_was_removed_names_nothing(filled: Store) -> None:
    """Nobody finds a version by it, it holds none, and it may be given again."""
    a, b, _ = VERSIONS
    for version in (a, b):
        set_alias(filled, "m", version, "prod", "")
        remove_alias(filled, "m", "prod", "")
    assert "no version 'prod'" in catch_refusal(resolve, filled, "m", "prod")
    assert not any(info.aliases for info in list_versions(filled, "m"))
    delete_version(filled, "m", b, "")
    assert [move[:3] for move in told(filled) if move[0] == "prod"] == [
        ("prod", "", a),
        ("prod", a, a),
        ("prod", "", b),
        ("prod", b, b),
    ]
    set_alias(filled, "m", a, "stage", "")
    said = catch_refusal(remove_alias, filled, "m", "stagee", "")
    assert said == "model 'm' has no alias 'stagee', did you mean 'stage'?"
    assert "has no alias 'prod'" in catch_refusal(remove_alias, filled, "m", "prod", "")


def test_what_a_pointer_names_stays(filled: Store, tmp_path: Path) -> None:
    """The best and an aliased version can't be deleted; going back skips one that is."""
    a, b, c = VERSIONS
    set_alias(filled, "m", a, "prod", "")
    for version in (a, c):
        said = catch_refusal(delete_version, filled, "m", version, "")
        assert "have that name another first" in said
    delete_version(filled, "m", b, "")
    assert not filled.list(f"models/m/versions/{b}")
    assert [info.version for info in list_versions(filled, "m")] == [a, c]
    assert roll_back(filled, "m", "").version == a


def test_a_best_that_was_deleted_by_hand(full: Store, tmp_path: Path) -> None:
    """Pull says how to get out of it, and that works."""
    full.delete(f"models/m/versions/{VERSIONS[2]}")
    said = catch_refusal(pull, full, "m", "best", tmp_path / "to")
    assert f"{VERSIONS[2]}, which was deleted: vae promote m@{VERSIONS[1]}" in said
    promote_by_hand(full, "m", VERSIONS[1], "the other is gone")
    assert pull(full, "m", "best", tmp_path / "to").version == VERSIONS[1]


def test_a_pull_that_was_killed_goes_on(
    filled: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is whole is kept, what was cut off is gone on with; what is damaged begins anew."""
    full, (_, manifest) = filled, resolve(filled, "m")
    data = full.read(f"models/m/versions/{VERSIONS[2]}/manifest.json")
    begun = tmp_path / f"{TEMPORARY}to-{hash_bytes(data)[:16]}"
    begun.mkdir()
    whole = full.read(f"models/m/versions/{VERSIONS[2]}/model.safetensors")
    (begun / "model.safetensors").write_bytes(whole)
    (begun / "config.json").write_bytes(b'{"latent')
    (begun / "metrics.json").write_bytes(b"damaged")
    inode = (begun / "model.safetensors").stat().st_ino
    kept = (begun / "config.json").stat().st_ino
    assert pull(full, "m", "best", tmp_path / "to") == manifest
    assert (tmp_path / "to" / "model.safetensors").stat().st_ino == inode
    assert (tmp_path / "to" / "config.json").stat().st_ino == kept
    assert not begun.exists()
    told = "download metrics.json  what was there is damaged, and it begins anew"
    assert [one.getMessage() for one in caplog.records if one.levelname == "WARNING"] == [told]


def test_two_pulls_to_one_folder(full: Store, tmp_path: Path) -> None:
    """The second one is refused while the first is at work, and changes nothing."""
    data = full.read(f"models/m/versions/{VERSIONS[2]}/manifest.json")
    begun = tmp_path / f"{TEMPORARY}to-{hash_bytes(data)[:16]}"
    begun.mkdir()
    first = os.open(begun, os.O_RDONLY)
    fcntl.flock(first, fcntl.LOCK_EX)
    said = catch_refusal(pull, full, "m", "best", tmp_path / "to")
    assert said == f"another process is pulling to {tmp_path / 'to'}: wait for it"
    os.close(first)
    pull(full, "m", "best", tmp_path / "to")


def test_many_pulls_to_one_folder(full: Store, tmp_path: Path) -> None:
    """Whoever comes when, it is pulled once, and the others find it there or are told to wait."""
    for turn in range(20):
        to, barrier = tmp_path / f"to-{turn}", threading.Barrier(8)

        def fetch(to: Path = to, barrier: threading.Barrier = barrier) -> str:
            barrier.wait()
            try:
                return pull(full, "m", "best", to).version
            except UserError as error:
                return str(error)

        with ThreadPoolExecutor(8) as pool:
            said = [job.result() for job in [pool.submit(fetch) for _ in range(8)]]
        assert set(said) <= {VERSIONS[2], f"another process is pulling to {to}: wait for it"}
        assert VERSIONS[2] in said
        assert verify(to).version == VERSIONS[2]
        assert not list(tmp_path.glob(f"{TEMPORARY}*"))


def test_a_mount_is_no_folder_to_pull_to(full: Store) -> None:
    """It is told before anything is downloaded, not when the folder is to be renamed to it."""
    said = catch_refusal(pull, full, "m", "best", Path("/proc"))
    assert said == "/proc is a mount, give a new folder in it"


def test_weights_alone(full: Store, tmp_path: Path) -> None:
    """What load_model reads and nothing else; asking again verifies it."""
    for _ in range(2):
        pull(full, "m", "best", tmp_path / "to", only_weights=True)
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == sorted(WEIGHTS)
    (tmp_path / "to" / "config.json").write_text("[]")
    with pytest.raises(UserError, match="was changed"):
        pull(full, "m", "best", tmp_path / "to", only_weights=True)


def test_racing_hands(store: Store, tmp_path: Path) -> None:
    """Some promote a version while others delete it: each is done or refused, a best is left."""
    fill(store, tmp_path)
    barrier = threading.Barrier(6)

    def act(number: int) -> None:
        barrier.wait()
        with suppress(UserError):
            if number % 2:
                delete_version(store, "m", VERSIONS[0], "race")
            else:
                promote_by_hand(store, "m", VERSIONS[number // 4], "race")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(act, range(6)))
    assert [info.best for info in list_versions(store, "m")].count(True) == 1


def test_the_table_fits_and_says_what_counts(full: Store) -> None:
    """100 columns at most; the best has its star, an alias is named, damage is told."""
    set_alias(full, "m", VERSIONS[0], "prod", "")
    now = datetime(2026, 1, 4, 1, tzinfo=UTC)
    models = {"m": list_versions(full, "m")}
    lines = format_versions(models, now)
    assert all(len(line) <= 100 for line in lines)
    [starred] = [line for line in lines if "★" in line]
    assert VERSIONS[2] in starred
    assert "88.00 nats" in starred
    assert "2 d" in starred
    assert lines[3].strip() == "m@prod"
    long = replace(models["m"][0], version="20260101T000000-of-a-long-run", aliases=())
    twin = replace(long, version=f"{long.version}-b")
    lines = format_versions({"m": [long, twin]}, now)
    assert lines[-1].strip() == f"m@{long.version}-"


def test_a_version_in_full(full: Store) -> None:
    """Its run, dataset, the pointers that name it and why, and every metric."""
    _, manifest = resolve(full, "m")
    lines = describe_version(manifest, {"val/nll": 88.0}, {BEST: best_of(full)})
    text = "\n".join(lines)
    for part in ("run-1", manifest.dataset, "@best since", "better", "val/nll", "model.hidden"):
        assert part in text


def test_changes_between_settings() -> None:
    """By dotted name, with a dash where one of them has no such setting."""
    ours = {"model": {"hidden": [1, 2], "kind": "a"}, "seed": 0}
    theirs = {"model": {"hidden": (1, 2), "kind": "b"}, "name": "m", "seed": 0}
    assert find_changes(ours, theirs) == {"model.kind": ("a", "b"), "name": ("-", "m")}
