"""How the live view draws what it knows: a row of stages, a table of trials, a bar and figures."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.console import ConsoleOptions, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from flows.live_state import FitState, RunState, StageState, TrialState
from vae.runs.trials import format_loss, format_overrides

HEAD = ["trial", "epoch", "val nats", "outcome", "settings"]
NUMBERS = HEAD[:3]
NARROW = 64  # columns below which the settings of trials are not shown
BAR_WIDTH = 60


class Glyphs(NamedTuple):
    """The signs that a terminal's encoding has."""

    spinner: str
    done: str
    stopped: str
    waiting: str


UNICODE = Glyphs(spinner="dots", done="✓", stopped="✗", waiting="·")
ASCII = Glyphs(spinner="line", done="+", stopped="x", waiting="-")


def draw_run(state: RunState, now: float, options: ConsoleOptions) -> RenderableType:
    """The stages, and what the one at work does; once the run has ended, the least that says how.

    Fits the terminal but for one that is shorter than the row of stages.
    """
    width, over = options.max_width, state.over_s is not None
    lines: list[RenderableType] = list(draw_stages(state, now, options))
    running = state.find_running()
    if running and running.name == "search":
        room = options.size.height - len(lines) - 2  # the table's head, and what is not shown
        lines += draw_trials(state, width, 1 if over else max(1, room))
    elif running and running.name == "train":
        lines += draw_fit(state.fit, now, width, over)
    return Group(*lines)


def draw_stages(state: RunState, now: float, options: ConsoleOptions) -> list[Text]:
    """The row of stages, in as many lines as it takes."""
    glyphs, over = ASCII if options.ascii_only else UNICODE, state.over_s is not None
    stages = state.stages.values()
    pieces = [draw_stage(stage, now, glyphs, over) for stage in stages]
    if state.over_s is not None:
        pieces.append(Text(f"{format_seconds(state.over_s)} in all", "dim"))
    elif state.find_running() is None:
        doing = "starting" if any(stage.seconds is None for stage in stages) else "finishing"
        pieces.append(draw_spinner(now, glyphs).append(f" {doing}"))
    return pack(pieces, options.max_width)


def draw_stage(stage: StageState, now: float, glyphs: Glyphs, over: bool) -> Text:
    """One stage: how long it took, or has taken so far."""
    if stage.seconds is not None:
        took = format_seconds(stage.seconds) if stage.seconds else "done before"
        return Text.assemble((glyphs.done, "green"), f" {stage.name} ", (took, "dim"))
    if stage.began is None:
        return Text(f"{glyphs.waiting} {stage.name}", "dim")
    if over:
        return Text.assemble((glyphs.stopped, "red"), f" {stage.name} ", ("not done", "dim"))
    piece = draw_spinner(now, glyphs).append(f" {stage.name} ", "bold")
    return piece.append(format_whole_seconds(now - stage.began))


def draw_spinner(now: float, glyphs: Glyphs) -> Text:
    """One character that turns."""
    spinner = Spinner(glyphs.spinner)
    frame = int(now * 1000 / spinner.interval) % len(spinner.frames)
    return Text.assemble((spinner.frames[frame], "cyan"))


def draw_trials(state: RunState, width: int, room: int) -> list[Text]:
    """A table of the best trial and the last told, in `room` rows, and how many there are more."""
    if not state.trials:
        count = state.trial_count
        return cut([Text("waiting for the first epoch of a trial", "dim")] if count else [], width)
    best = state.find_best_trial()
    shown = select_trials(list(state.trials.values()), best, room)
    rows = [HEAD, *(list_cells(trial, state, trial is best) for trial in shown)]
    if width < NARROW:
        rows = [row[:-1] for row in rows]
    styles = ["dim", *(choose_style(trial, best) for trial in shown)]
    lines = [Text(line, style) for line, style in zip(align(rows), styles, strict=True)]
    more = len(state.trials) - len(shown)
    return cut([*lines, Text(f"and {more} more", "dim")] if more else lines, width)


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows of a table in columns, numbers to the right. Rich's takes ten times as long."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if name in NUMBERS else cell.ljust(width)
            for name, cell, width in zip(HEAD, row, widths, strict=False)
        )
        for row in rows
    ]


def select_trials(
    trials: Sequence[TrialState], best: TrialState | None, room: int
) -> list[TrialState]:
    """The best one and the last of the others, at most `room` of them in all, by number."""
    others = [trial for trial in trials if trial is not best]
    kept = [best] if best else []
    kept += others[max(0, len(others) + len(kept) - room) :]
    return sorted(kept, key=lambda trial: trial.number)


def list_cells(trial: TrialState, state: RunState, best: bool) -> list[str]:
    """A trial as cells of the table, the best one with a star."""
    return [
        f"{'* ' if best else ''}{trial.number} of {state.trial_count}",
        f"{trial.epochs} of {state.trial_epochs}",
        f"{trial.loss:.2f}" if trial.loss < math.inf else "-",
        trial.outcome,
        format_overrides(trial.overrides),
    ]


def choose_style(trial: TrialState, best: TrialState | None) -> str:
    """The best one stands out, those that were given up stand back."""
    if trial is best:
        return "bold green"
    return "" if trial.outcome in ("running", "finished") else "dim"


def draw_fit(fit: FitState, now: float, width: int, over: bool) -> Sequence[RenderableType]:
    """A bar over all epochs, and the figures; the figures alone of a training that was stopped."""
    if not fit.done:
        return cut([] if over else [Text("waiting for the workers' first steps", "dim")], width)
    figures = pack([Text(figure) for figure in list_figures(fit, now, over)], width)
    if over:
        return figures
    bar = Table.grid(padding=(0, 1))
    length = max(1, min(BAR_WIDTH, width - 5))
    bar.add_row(
        ProgressBar(fit.epochs, fit.done, length), f"{math.floor(100 * fit.done / fit.epochs)}%"
    )
    return [bar, *figures]


def list_figures(fit: FitState, now: float, over: bool) -> list[str]:
    """Where the training is, how good, how fast, and how long it will take."""
    figures = [f"epoch {min(fit.epochs, int(fit.done) + 1)} of {fit.epochs}"]
    if fit.row:
        figures += [f"loss {fit.row['train/loss']:.2f}", f"val {format_loss(fit.row)}"]
        figures.append(f"{fit.row['images_per_s']:,.0f} images/s")
    left_s = fit.estimate_left_s(now)
    if fit.done >= fit.epochs:
        figures.append("bounding the best epoch")
    elif left_s is not None and not over:
        figures.append(f"{format_whole_seconds(left_s)} left")
    return figures


def describe_end(state: RunState, stage: str) -> str:
    """How a stage ended, in a line that stays."""
    seconds = state.stages[stage].seconds or 0.0
    if not seconds:
        return "done before"
    line, best, row = f"done in {format_seconds(seconds)}", state.find_best_trial(), state.fit.row
    ended = sum(trial.outcome != "running" for trial in state.trials.values())
    if stage == "search" and best and ended == state.trial_count:  # else earlier ones count too
        _, _, loss, _, settings = list_cells(best, state, best=False)
        line += f": trial {best.number} of {ended} wins, val {loss} nats ({settings})"
    if stage == "train" and row:
        line += f": epoch {row['epoch']:.0f}, loss {row['train/loss']:.2f}, "
        line += f"val {format_loss(row)}"
    return line


def format_seconds(seconds: float) -> str:
    """'2.1 s', and as `format_whole_seconds` from ten on."""
    return f"{seconds:.1f} s" if seconds < 9.95 else format_whole_seconds(seconds)


def format_whole_seconds(seconds: float) -> str:
    """'14 s', '3:05' or '1:02:03'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}" if minutes else f"{rest} s"


def pack(pieces: Iterable[Text], width: int) -> list[Text]:
    """The pieces side by side, in as few lines of at most `width` columns as hold them."""
    lines: list[Text] = []
    for piece in pieces:
        if lines and lines[-1].cell_len + 2 + piece.cell_len <= width:
            lines[-1] = Text.assemble(lines[-1], "  ", piece)
        else:
            lines.append(piece)
    return cut(lines, width)


def cut(lines: Sequence[Text], width: int) -> list[Text]:
    """The lines, none of them broken: what is wider than `width` columns ends there."""
    for line in lines:
        line.truncate(width, overflow="crop")
    return list(lines)
