"""The command line when it is told to stop."""

import os
import signal
import subprocess
import sys

import pytest

from flows.embedded import stop_in_order
from vae.errors import UserError


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
    """It is told with the command that continues."""
    with pytest.raises(UserError) as raised, stop_in_order("vae run --run-id a"):
        raise UserError("the disk is full")
    assert str(raised.value) == "the disk is full; continue with: vae run --run-id a"


KILLED = """
import os, sys
from flows.embedded import tell_if_killed

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
