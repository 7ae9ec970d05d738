"""The command line when it is told to stop."""

import os
import signal
import subprocess
import sys

import pytest

from flows.ending import format_command, stop_in_order, tell_again
from vae.errors import EndedRunError, RefusedError, UserError


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_in_one_line(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is under way unwinds, the status is the shell's, and the handlers are put back."""
    before = signal.getsignal(number)
    unwound = []
    with pytest.raises(SystemExit) as ended, stop_in_order("vae run --run-id first"):
        try:
            os.kill(os.getpid(), number)
        finally:
            unwound.append(number)
    assert ended.value.code == 128 + number
    assert unwound == [number]
    expected = f"vae: stopped by {number.name}, continue with: vae run --run-id first\n"
    assert capsys.readouterr().err == expected
    assert signal.getsignal(number) is before


def test_a_failure_is_no_signal(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a signal every exception passes as it is, after a line that says how to go on."""
    with pytest.raises(ZeroDivisionError), stop_in_order("vae run --run-id a"):
        raise ZeroDivisionError
    assert capsys.readouterr().err == "vae: continue with: vae run --run-id a\n"


def test_what_the_user_can_fix_stays_one_line() -> None:
    """It is told with the command that continues, unless the run can't be continued."""
    with pytest.raises(UserError) as raised, stop_in_order("vae run --run-id a"):
        raise UserError("the disk is full")
    assert str(raised.value) == "the disk is full; continue with: vae run --run-id a"
    with pytest.raises(EndedRunError) as ended, stop_in_order("vae run --run-id a"):
        raise EndedRunError("training diverged")
    assert str(ended.value) == "training diverged"


def test_the_command_that_continues() -> None:
    """It ends where the run was to end, and with as many workers as it began with."""
    told = format_command("publish", "a", "file:///my store")
    assert told == "vae run --run-id a --store 'file:///my store'"
    told = format_command("train", "a", "s3://vae/store", "1:4")
    assert told == "vae train --run-id a --store s3://vae/store --workers 1:4"


@pytest.mark.parametrize(("command", "told"), [("vae run", "; continue with: vae run"), (None, "")])
def test_a_store_that_refuses_to_begin_with(command: str | None, told: str) -> None:
    """A run that was named can be continued once that is mended; another has not begun."""
    with pytest.raises(RefusedError) as raised, tell_again(command):
        raise RefusedError("no")
    assert str(raised.value) == f"no{told}"


KILLED = """
import os, sys
from flows.ending import tell_if_killed

with tell_if_killed("vae run --run-id a"):
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("end", ["killed", "in order"])
def test_what_is_killed_says_how_to_go_on(end: str) -> None:
    """Another process tells it, and says nothing of what ended in order."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, end], capture_output=True, text=True, check=False
    )
    line = "vae: killed, or ended by Ray; continue with: vae run --run-id a\n"
    assert done.stderr == (line if end == "killed" else "")
