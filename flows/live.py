"""The live view of a run in a terminal: stages, trials and the training as they go.

Whoever calls only leaves word; one thread draws, four times a second. So a run is not slowed, and
no two threads write to the terminal at once, which would mix up where its cursor is.
"""

import logging
import sys
import threading
from contextlib import ExitStack
from queue import SimpleQueue
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from flows.live_state import FitState, RunState, StageState
from flows.live_tables import describe_end, draw_run
from flows.stages import NAMES
from flows.view import View
from vae.runs.run import Run
from vae.runs.trials import Trial
from vae.store.progress import TRANSFERS

REFRESH_S = 0.25
log = logging.getLogger("vae")


class LiveView(View):
    """A context with a live region at the bottom of the terminal; warnings and ends stay above it.

    `until`: the last stage of the run. What is printed inside appears above the region too. On the
    way out, however that comes, the cursor is back and the region says how far the run came.
    """

    def __init__(self, run: Run, until: str = NAMES[-1], console: Console | None = None) -> None:
        config = run.experiment
        names = NAMES[: NAMES.index(until) + 1]
        self.run = run
        self.state = RunState(
            stages={name: StageState(name) for name in names},
            trial_count=config.search.trials,
            trial_epochs=config.search.epochs,
            fit=FitState(config.train.epochs),
        )
        self.lock = threading.Lock()  # of the state
        self.lines: SimpleQueue[Text] = SimpleQueue()  # takes lines from destructors as well
        self.console = console or Console(highlight=False)
        self.began = self.console.get_time()
        self.live = Live(
            console=self.console,
            auto_refresh=False,
            vertical_overflow="crop",
            get_renderable=self.draw,
            redirect_stderr=sys.stderr.isatty(),  # a file keeps what it was to get
        )
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.keep_drawing, name="live-view", daemon=True)

    def __enter__(self) -> Self:
        handler = LineHandler(self.lines)
        with ExitStack() as stack:
            stack.callback(self.console.show_cursor)
            stack.callback(self.live.stop)
            stack.callback(self.stop_drawing)
            stack.callback(log.removeHandler, handler)
            log.addHandler(handler)
            self.lines.put(
                make_whole_line("run", "bold", f"{self.run.run_id} in {self.run.store.uri}")
            )
            self.live.start()
            self.thread.start()
            self.closing = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.close()

    def on_stage_start(self, stage: str) -> None:
        with self.lock:
            again = self.state.stages[stage].began is not None
            self.state.tell_start(stage, self.console.get_time())
        if again:
            self.say(stage, "failed, begins again", "yellow")

    def on_stage_end(self, stage: str, seconds: float) -> None:
        with self.lock:
            self.state.stages[stage].seconds = seconds
            end = describe_end(self.state, stage)
        self.say(stage, end)

    def on_figures(self, stage: str, line: str) -> None:
        self.say(stage, line)

    def on_trial_epoch(self, number: int, overrides: dict[str, Any], row: dict[str, float]) -> None:
        with self.lock:
            self.state.reach_trial(number, overrides).tell_epoch(row)

    def on_trial_end(self, trial: Trial) -> None:
        with self.lock:
            self.state.reach_trial(trial.number, trial.overrides).tell_end(trial)
        if trial.error:
            self.say("search", f"trial {trial.number} failed: {trial.error}", "yellow")

    def on_fit_epoch(self, row: dict[str, float]) -> None:
        with self.lock:
            self.state.fit.tell_epoch(row, self.console.get_time())

    def on_fit_step(self, epoch: int, step: int, steps: int) -> None:
        with self.lock:
            self.state.fit.tell_step(epoch, step, steps, self.console.get_time())

    def say(self, head: str, line: str, style: str = "") -> None:
        """Leave a line that stays above the region, broken between words if it is too long."""
        self.lines.put(Text.assemble((f"{head:<8} ", "bold"), (line, style)))

    def draw(self) -> RenderableType:
        """The region as it is now."""
        with self.lock:
            return draw_run(self.state, self.console.get_time(), self.console.options)

    def keep_drawing(self) -> None:
        """Print the lines that were left and draw the region, until the context ends."""
        while not self.over.wait(REFRESH_S):
            self.print_lines()
            self.live.refresh()

    def print_lines(self) -> None:
        """Print the lines that were left."""
        while not self.lines.empty():
            line = self.lines.get()
            self.console.print(line, soft_wrap=bool(line.no_wrap))  # print alone ignores no_wrap

    def stop_drawing(self) -> None:
        """End the thread, and leave the region to be drawn for the last time."""
        self.over.set()
        if self.thread.is_alive():
            self.thread.join()
        with self.lock:
            self.state.over_s = self.console.get_time() - self.began
        self.print_lines()


class LineHandler(logging.Handler):
    """Leaves warnings, errors and what takes long to transfer as lines for the one who draws."""

    def __init__(self, lines: SimpleQueue[Text]) -> None:
        super().__init__(logging.INFO)
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Leave the message, with the traceback if there is one."""
        if record.levelno >= logging.WARNING:
            self.lines.put(make_whole_line(record.levelname.lower(), "yellow", self.format(record)))
        elif record.name == TRANSFERS:
            head, _, line = self.format(record).partition(" ")
            self.lines.put(make_whole_line(head, "bold", line.lstrip()))


def make_whole_line(head: str, style: str, line: str) -> Text:
    """A line to copy from: only the terminal breaks it, which knows that it is one."""
    return Text.assemble((f"{head:<8} ", style), line, no_wrap=True)
