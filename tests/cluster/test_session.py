"""How many workers a user may ask for and a cluster can give; work that signals interrupt."""

import contextvars
import os
import signal
import threading
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae.cluster.interruptible import run_interruptibly
from vae.cluster.session import CPU_WORKERS, Resources, Workers, start_session
from vae.errors import UserError


@given(st.integers(1, 1000), st.integers(0, 1000))
def test_numbers_and_ranges(low: int, more: int) -> None:
    """A number is exactly that many, as text or not; MIN:MAX is elastic."""
    assert Workers.parse(low) == Workers.parse(str(low)) == Workers(low, low)
    assert Workers.parse(f"{low}:{low + more}") == Workers(low, low + more)


def test_auto() -> None:
    """Auto leaves the number to the cluster."""
    assert Workers.parse("auto") == Workers()


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "4:2", "0:2", ":4", "1:", "1:2:3", "1.5", "all", 0]
)
def test_no_number_of_workers(text: str | int) -> None:
    """Anything else is refused with what is allowed."""
    with pytest.raises(UserError, match="must be auto, a number from 1, or MIN:MAX"):
        Workers.parse(text)


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers", "expected"),
    [
        (16, 0, "auto", CPU_WORKERS),
        (16, 4, "auto", 4),
        (16, 4, "3", 3),
        (16, 0, "1:4", (1, 4)),
        (16, 0, "4:4", 4),
    ],
)
def test_what_training_asks_for(
    cpus: int, gpus: int, workers: str, expected: int | tuple[int, int]
) -> None:
    """Auto takes every GPU, or two CPUs; a number or a range is taken as it is."""
    resources = Resources(cpus, gpus, Workers.parse(workers)).check()
    assert resources.num_workers == expected
    assert resources.use_gpu == (gpus > 0)
    assert resources.slots == (gpus or cpus)


@pytest.mark.parametrize(
    ("gpus", "workers", "message"),
    [(0, "9", "has 8 CPUs"), (2, "3", "has 2 GPUs"), (2, "3:8", "give at most 2")],
)
def test_more_than_there_is(gpus: int, workers: str, message: str) -> None:
    """Training that could never be scheduled is refused; an elastic one needs its minimum alone."""
    with pytest.raises(UserError, match=message):
        Resources(8, gpus, Workers.parse(workers)).check()
    assert Resources(8, gpus, Workers.parse("1:100")).check().num_workers == (1, 100)


@pytest.mark.parametrize(("cpus", "expected"), [(0, 1), (1, 1), (2, 2), (64, 2)])
def test_auto_asks_for_no_more_than_there_is(cpus: int, expected: int) -> None:
    """On a small cluster it is one worker, and so on one that is still to grow from nothing."""
    resources = Resources(cpus, 0, Workers()).check()
    assert resources.num_workers == expected
    assert resources.slots == max(1, cpus)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "127.0.0.1:99999", "no.invalid:1", "nonsense"])
def test_no_cluster_at_an_address(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is leaving already is told at the first attempt, in one line."""
    monkeypatch.setenv("RAY_ADDRESS", address)
    leaving = threading.Event()
    leaving.set()
    with pytest.raises(UserError) as refused:
        start_session(Workers(), leaving)
    assert f"no Ray cluster at RAY_ADDRESS={address}: " in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_what_work_returns_and_raises() -> None:
    """Work on its own thread answers as if it were called, and sees the caller's context."""
    flow = contextvars.ContextVar("flow", default="none")
    flow.set("pipeline")
    assert run_interruptibly(threading.current_thread) is not threading.current_thread()
    assert run_interruptibly(flow.get) == "pipeline"
    with pytest.raises(ZeroDivisionError):
        run_interruptibly(lambda: 1 // 0)


def test_a_signal_is_heard_while_work_blocks() -> None:
    """What a signal handler raises reaches the caller, although the work would never end."""

    class CancelledError(Exception):
        pass

    def cancel(number: int, frame: FrameType | None) -> None:
        raise CancelledError

    before = signal.signal(signal.SIGUSR2, cancel)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR2))
    forever = threading.Event()
    try:
        timer.start()
        with pytest.raises(CancelledError):
            run_interruptibly(forever.wait)
    finally:
        forever.set()
        signal.signal(signal.SIGUSR2, before)
