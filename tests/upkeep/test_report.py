"""What people read: the table of runs, and what went."""

import shlex

from tests.support.filled_stores import STAGES, FilledStore
from vae.upkeep.look import look
from vae.upkeep.plan import Policy
from vae.upkeep.report import format_runs, format_sweep, to_markdown
from vae.upkeep.sweep import sweep

LONG = "x" * 84


def list_lines(filled: FilledStore) -> list[str]:
    """The lines of `vae runs`."""
    return format_runs(look(filled.store), STAGES, filled.store.uri, filled.now_s)


def test_a_store_without_runs_says_so(filled: FilledStore) -> None:
    """With its URI, which may be the wrong one."""
    assert list_lines(filled) == [f"no runs in {filled.store.uri}"]


def test_every_run_has_its_stage_state_age_and_size(filled: FilledStore) -> None:
    """In a hundred columns, the one written to last at the end."""
    for run_id, until, days in (
        ("a", "publish", 40),
        ("b", "train", 5),
        (LONG, "search", 2),
        ("c", "", 0.2),
    ):
        filled.add_run(run_id, until)
        filled.age(f"runs/{run_id}", days)
    lines = list_lines(filled)
    table = [line for line in lines[:-1] if not line.startswith("  continue")]
    assert max(map(len, table)) <= 100
    cells = [line.split() for line in table]
    assert cells[0] == ["run", "experiment", "done", "state", "wrote", "size"]
    assert cells[1][:6] == ["a", "tiny", "publish", "published", "40", "d"]
    assert cells[2][:6] == ["b", "tiny", "train", "interrupted", "5", "d"]
    assert cells[3:5] == [[LONG], ["tiny", "search", "interrupted", "2", "d", *cells[4][5:]]]
    assert cells[5][:7] == ["c", "tiny", "-", "at", "work?", "4", "h"]
    assert lines[-1].startswith("4 runs, ")
    assert lines[-1].endswith(f" in {filled.store.uri}")


def test_the_command_that_continues_a_run_is_quoted(filled: FilledStore) -> None:
    """It can be pasted, whatever the store is called; a published run has none."""
    filled.add_run("a", "train")
    filled.add_run("b", "publish")
    uri = "s3://bucket/it's a prefix"
    lines = format_runs(look(filled.store), STAGES, uri, filled.now_s)
    [command] = [line for line in lines if line.startswith("  continue: ")]
    words = shlex.split(command.removeprefix("  continue: "))
    assert words == ["vae", "run", "--run-id", "a", "--store", uri]


def test_a_damaged_run_is_listed_with_its_damage(filled: FilledStore) -> None:
    """And so is every other one."""
    for run_id in ("a", "b", "c"):
        filled.add_run(run_id, "train")
    filled.store.put("runs/a/train.json", b"{}")
    filled.store.put("runs/b/experiment.json", b"torn")
    lines = list_lines(filled)
    states = {line.split()[0]: line.split()[3] for line in lines[1:-1] if line[0] != " "}
    assert states == {"a": "damaged", "b": "damaged", "c": "at"}
    said = [line for line in lines if line.startswith("  damaged: ")]
    assert len(said) == 2
    assert "runs/a/train.json is damaged" in said[0] + said[1]
    assert "runs/b/experiment.json is damaged" in said[0] + said[1]


def test_what_would_go_is_told_apart_from_what_went(filled: FilledStore, policy: Policy) -> None:
    """Each thing with its size and reason, the bytes before and after; once more in Markdown."""
    filled.add_run("a", "train")
    filled.add_run("b", "train")
    filled.store.put("runs/b/train.json", b"{}")
    filled.age("runs", 31)
    promised = sweep(filled.store, policy, delete=False)
    text = "\n".join(format_sweep(promised))
    assert "runs/a  (nothing written for 31 d)" in text
    assert "runs/b stays: " in text
    assert "1 thing would go of file://" in text
    assert "nothing was deleted: the same with --delete does it" in text
    done = sweep(filled.store, policy, delete=True)
    text = "\n".join(format_sweep(done))
    assert "1 thing went of file://" in text
    assert "--delete" not in text
    assert "kB before, " in text
    markdown = to_markdown(done)
    assert "| runs/a | nothing written for 31 d |" in markdown
    assert "- runs/b stays: " in markdown
