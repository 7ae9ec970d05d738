"""The live view of a terminal: what it shows of a run, and that it leaves the terminal in order."""

import io
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from flows.live import LiveView
from tests.support.terminal import (
    HIDDEN,
    SHOWN,
    Clock,
    PseudoTerminal,
    make_terminal,
    read_output,
    replay,
)
from vae.experiments.loading import load_experiment
from vae.runs.run import Run
from vae.runs.trials import Trial, format_overrides
from vae.store.open import open_store
from vae.store.progress import TRANSFERS

log = logging.getLogger("vae.pipeline")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of three epochs, after twelve trials of four."""
    experiment = load_experiment("tiny", {"search.trials": 12, "search.epochs": 4})
    store = open_store(str(tmp_path / "store"))
    return Run(run_id="first", experiment=experiment, created=datetime.now(UTC), store=store)


def draw(view: LiveView) -> list[str]:
    """The lines of the view's region, as they are now."""
    width, height = view.console.size
    paper = Console(file=io.StringIO(), width=width, height=height, _environ={})
    paper.print(view.draw())
    return [line.rstrip() for line in read_output(paper).splitlines()]


def make_row(epoch: int, loss: float = 160.0) -> dict[str, float]:
    """The metrics of an epoch that took two seconds."""
    row = {"epoch": epoch, "train/loss": loss + 5, "val/loss": loss, "images_per_s": 12345.0}
    return row | {"began": 50.0, "ended": 52.0}


def test_every_stage_is_shown_at_work_and_done(run: Run) -> None:
    """From the start to the end: the row of stages, and a line that stays for each."""
    clock = Clock()
    terminal = make_terminal(clock=clock)
    with LiveView(run, console=terminal) as view:
        assert "starting" in draw(view)[0]
        view.on_stage_end("data", 0.0)
        view.on_stage_start("search")
        clock.now += 75
        assert re.search(r"✓ data done before  . search 1:15  · train", draw(view)[0])
        view.on_stage_end("search", 75.0)
        for stage in ("train", "evaluate", "publish"):
            view.on_stage_start(stage)
            view.on_stage_end(stage, 2.5)
        assert draw(view)[0].endswith("finishing")
    shown = replay(read_output(terminal))
    assert shown[0] == f"run      first in {run.store.uri}"
    assert shown[1:3] == ["data     done before", "search   done in 1:15"]
    assert shown[3:6] == [f"{stage:<8} done in 2.5 s" for stage in ("train", "evaluate", "publish")]
    row = "✓ data done before  ✓ search 1:15  ✓ train 2.5 s  ✓ evaluate 2.5 s  ✓ publish 2.5 s"
    assert shown[6:] == [f"{row}  1:15 in all", ""]


def test_what_failed_is_a_line(run: Run) -> None:
    """A trial's error, and a stage that is tried again, with the trials that have ended kept."""
    terminal = make_terminal()
    failed = Trial(
        number=2, overrides={}, loss=None, epochs=0, stopped=False, spans=[], error="ValueError: no"
    )
    with LiveView(run, console=terminal) as view:
        view.on_stage_start("search")
        view.on_trial_epoch(1, {}, make_row(1))
        view.on_trial_end(failed)
        view.on_stage_start("search")
        assert [line.split()[0] for line in draw(view)[2:]] == ["2"]
    shown = replay(read_output(terminal))
    assert shown[1:3] == [
        "search   trial 2 failed: ValueError: no",
        "search   failed, begins again",
    ]


def test_a_run_up_to_a_stage_shows_no_more(run: Run) -> None:
    """The row ends with the last stage that was asked for."""
    view = LiveView(run, until="search", console=make_terminal())
    assert "search" in draw(view)[0] and "train" not in draw(view)[0]


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_plain_terminal_is_told_the_same(run: Run, environment: dict[str, str]) -> None:
    """Without colours all is there, and what can't move its cursor gets lines and the end."""
    terminal = make_terminal(environment=environment)
    with LiveView(run, console=terminal) as view:
        view.on_stage_start("data")
        log.warning("the disk is nearly full")
        view.on_stage_end("data", 1.0)
    output = read_output(terminal)
    assert not re.search(r"\x1b\[[\d;]*3\d", output)
    assert "TERM" not in environment or "\x1b[2K" not in output
    assert replay(output)[1:3] == ["warning  the disk is nearly full", "data     done in 1.0 s"]
    assert "✓ data 1.0 s  · search" in replay(output)[3]


def test_a_warning_is_a_line_as_it_is(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """It is neither broken nor taken for markup; of what is said below it, transfers are shown."""
    terminal, long = make_terminal(width=40), "word " * 20
    handlers = list(logging.getLogger("vae").handlers)
    with caplog.at_level(logging.INFO, "vae"):
        with LiveView(run, console=terminal):
            log.info("only for the API")
            log.warning("[bold]%s[/]", long)
            logging.getLogger(TRANSFERS).info("upload   a.bin  312 of 1,024 MB")
            logging.getLogger("other").error("not ours")
        log.warning("after the end")
    assert logging.getLogger("vae").handlers == handlers
    output = read_output(terminal)
    assert f"warning  [bold]{long}[/]" in replay(output)
    assert "upload   a.bin  312 of 1,024 MB" in replay(output)
    for unsaid in ("only for the API", "not ours", "after the end"):
        assert unsaid not in output


def test_many_threads_may_tell(run: Run) -> None:
    """Nothing is lost, and no line breaks into another."""
    terminal = make_terminal()

    def tell(thread: int) -> None:
        for number in range(50):
            view.on_trial_epoch(50 * thread + number, {}, make_row(1))
            view.on_fit_step(1, number + 1, 50)
            log.warning("%d says %d", thread, number)

    with LiveView(run, console=terminal) as view:
        view.on_stage_start("search")
        threads = [threading.Thread(target=tell, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(view.state.trials) == 200
    said = [line for line in replay(read_output(terminal)) if line.startswith("warning")]
    assert sorted(said) == sorted(f"warning  {t} says {n}" for t in range(4) for n in range(50))


def test_a_run_that_stops_says_where(run: Run) -> None:
    """The stage at work is not done, and what was known of the training stays."""
    terminal = make_terminal()
    with pytest.raises(KeyboardInterrupt), LiveView(run, console=terminal) as view:
        view.on_stage_end("search", 0.0)
        view.on_stage_start("train")
        view.on_fit_epoch(make_row(1))
        raise KeyboardInterrupt
    shown = replay(read_output(terminal))
    assert "✗ train not done" in shown[2]
    assert shown[3:] == ["epoch 2 of 3  loss 165.00  val 160.00 nats  12,345 images/s", ""]
    assert read_output(terminal).rindex(SHOWN) > read_output(terminal).rindex(HIDDEN)


@pytest.mark.parametrize("width", [40, 100])
def test_a_real_terminal_is_left_in_order(
    run: Run, width: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Warnings are above the region, the region moves, and a failure brings the cursor back."""
    terminal = PseudoTerminal(width)
    with (
        closing(os.fdopen(terminal.slave, "w")) as file,
        caplog.at_level(logging.INFO, "vae"),
        pytest.raises(ZeroDivisionError),
    ):
        console = Console(file=file, width=width, height=24, _environ={"TERM": "xterm"})
        with LiveView(run, console=console) as view:
            view.on_stage_start("search")
            view.on_trial_epoch(1, {"model.latent_dim": 4}, make_row(1, 170.0))
            view.on_trial_epoch(2, {"model.latent_dim": 8}, make_row(1, 150.0))
            terminal.wait_for("* 2 of 12")
            view.on_stage_end("search", 2.0)
            view.on_stage_start("train")
            view.on_fit_epoch(make_row(1))
            terminal.wait_for("33%")
            log.info("only for the API")
            log.warning("the disk is nearly full")
            raise ZeroDivisionError
    output = terminal.read_all()
    assert (format_overrides({"model.latent_dim": 8}) in output) == (width == 100)
    assert "val 160.00 nats" in output and "12,345 images/s" in output
    assert "only for the API" not in output
    assert output.count(HIDDEN) == 1 and output.rindex(SHOWN) > output.rindex(HIDDEN)
    shown = replay(output)
    above = shown.index("warning  the disk is nearly full")
    assert above < next(n for n, line in enumerate(shown) if "✗ train not done" in line)
    assert not any("%" in line or "12 of" in line for line in shown)


PROGRAM = """
import sys, time
from flows.embedded import show_progress
from flows.ending import stop_in_order
from vae.experiments.loading import load_experiment
from vae.runs.run import open_run
from vae.store.open import open_store

run = open_run(open_store(sys.argv[1]), "first", load_experiment("tiny"))
with stop_in_order("vae run"), show_progress(run, "publish") as view:
    view.on_stage_start("data")
    print("printed by a library")
    time.sleep(60)
"""


def test_sigterm_leaves_the_terminal_in_order(tmp_path: Path) -> None:
    """The command's own way to stop: the region says where, and the cursor is back."""
    terminal = PseudoTerminal(width=100)
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, tmp_path],
        stdin=terminal.slave,
        stdout=terminal.slave,
        stderr=terminal.slave,
        env=os.environ | {"TERM": "xterm"},
    )
    os.close(terminal.slave)
    try:
        terminal.wait_for("printed by a library")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
    output = terminal.read_all()
    shown = replay(output)
    assert "printed by a library" in shown
    assert any("✗ data not done" in line for line in shown)
    assert "vae: stopped by SIGTERM, continue with: vae run" in shown
    assert output.rindex(SHOWN) > output.rindex(HIDDEN)
