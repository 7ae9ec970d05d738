"""What people read of a store's upkeep: its runs as a table, and what went."""

import shlex
from collections.abc import Sequence

from vae.experiments.durations import format_age
from vae.upkeep.plan import AT_WORK_S
from vae.upkeep.survey import RunState, Survey
from vae.upkeep.sweep import Sweep
from vae.upkeep.units import format_bytes

WIDTHS = (42, 12, 8, 11, 6, 8)  # of the columns, with two between them: 97 of a line's 100
HEADER = ("run", "experiment", "done", "state", "wrote", "size")
COLUMNS = ("size", "what", "why")


def format_runs(survey: Survey, stages: Sequence[str], uri: str, now_s: float) -> list[str]:
    """The runs, the one written to last at the end; below each how it goes on, or why it can't.

    `stages`: their names in order. Only the lines below a run may be longer than 100 columns.
    """
    runs = sorted((r for r in survey.runs.values() if r.files), key=lambda run: run.wrote_s)
    if not runs:
        return [f"no runs in {uri}"]
    lines = [format_row(HEADER)]
    for run in runs:
        cells = describe_run(run, stages, now_s)
        if len(run.run_id) > WIDTHS[0]:  # told whole, because people copy it
            lines.append(run.run_id)
            cells = ("", *cells[1:])
        lines += [format_row(cells), *describe_future(run, uri)]
    size_bytes = sum(run.size_bytes for run in runs)
    return [*lines, f"{format_count(len(runs), 'run')}, {format_bytes(size_bytes)} in {uri}"]


def describe_run(run: RunState, stages: Sequence[str], now_s: float) -> tuple[str, ...]:
    """A run as cells of the table."""
    done = [stage for stage in stages if stage in run.recorded]
    quiet_s = now_s - run.wrote_s
    if run.damage:
        state = "damaged"
    elif run.published:
        state = "published"
    else:  # the store can't tell a run at work from one that was killed an hour ago
        state = "interrupted" if quiet_s >= AT_WORK_S else "at work?"
    last, size = done[-1] if done else "-", format_bytes(run.size_bytes)
    return run.run_id, run.experiment or "?", last, state, format_age(quiet_s), size


def describe_future(run: RunState, uri: str) -> list[str]:
    """The command that continues the run, or why there is none; nothing for a published one."""
    if run.damage:
        return [f"  damaged: {run.damage}"]
    if run.published:
        return []
    if run.refusal:
        return [f"  can't be continued: {run.refusal}"]
    command = shlex.join(["vae", "run", "--run-id", run.run_id, "--store", uri])
    return [f"  continue: {command}"]


def format_row(cells: Sequence[str]) -> str:
    """One line of the table of runs; the size, which comes last, is aligned to the right."""
    *left, size = [
        cell if len(cell) <= width else f"{cell[: width - 1]}…"
        for cell, width in zip(cells, WIDTHS, strict=True)
    ]
    padded = [cell.ljust(width) for cell, width in zip(left, WIDTHS[:-1], strict=True)]
    return "  ".join([*padded, size.rjust(WIDTHS[-1])])


def format_sweep(sweep: Sweep) -> list[str]:
    """What went or would go, what stays and why, and the bytes before and after."""
    lines = [f"{size:>9}  {what}  ({why})" for size, what, why in list_rows(sweep)]
    lines += [f"  {note}" for note in sweep.store.notes]
    lines += [f"  not deleted: {failure}" for failure in sweep.failed]
    lines += summarise(sweep)
    if not sweep.deleted and (sweep.store.gone or sweep.beside):
        lines.append("nothing was deleted: the same with --delete does it")
    return lines


def to_markdown(sweep: Sweep) -> str:
    """The same for Prefect's UI."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *list_rows(sweep)]
    table = [f"| {' | '.join(cells)} |" for cells in rows]
    said = [*sweep.store.notes, *(f"not deleted: {failure}" for failure in sweep.failed)]
    lines = [*(f"- {line}" for line in summarise(sweep)), "", *table, ""]
    return "\n".join([*lines, *(f"- {line}" for line in said)]) + "\n"


def list_rows(sweep: Sweep) -> list[tuple[str, str, str]]:
    """Size, what and why of all that went or would go."""
    rows = [(format_bytes(one.size_bytes), one.prefix, one.why) for one in sweep.store.gone]
    return rows + [(format_bytes(one.size_bytes), str(one.path), one.why) for one in sweep.beside]


def summarise(sweep: Sweep) -> list[str]:
    """The bytes, before and after."""
    verb = "went" if sweep.deleted else "would go"
    before, after = sweep.store.before_bytes, sweep.store.after_bytes
    beside_bytes = sum(leftover.size_bytes for leftover in sweep.beside)
    return [
        f"{format_count(len(sweep.store.gone), 'thing')} {verb} of {sweep.uri}: "
        f"{format_bytes(before)} before, {format_bytes(after)} after",
        f"{format_count(len(sweep.beside), 'folder')} {verb} beside it: "
        f"{format_bytes(beside_bytes)}",
    ]


def format_count(number: int, noun: str) -> str:
    """'1 run', '2 runs'."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
