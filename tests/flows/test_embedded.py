"""The command line when it is told to stop."""

import os
import signal

import pytest

from flows.embedded import stop_in_order


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


def test_a_failure_is_no_signal() -> None:
    """Without a signal every exception passes as it is."""
    with pytest.raises(ZeroDivisionError), stop_in_order("vae run"):
        raise ZeroDivisionError
