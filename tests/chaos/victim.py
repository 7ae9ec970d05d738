"""One run of the pipeline that faults strike: started, watched, continued as it says itself."""

import os
import re
import shlex
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.support.command import Started, descendants, named
from vae.store.promises import Store
from vae.training.checkpoints import list_checkpoints

SEARCHED = 4  # epochs of each trial, with which training begins
SETTINGS = (
    "search.trials=3",
    f"search.epochs={SEARCHED}",
    "train.epochs=30",
    "train.batch_size=50",
    "evaluation.samples=50",
)
CONTINUE = re.compile(r"continue with: vae (.+)")
STUCK_S = 300.0  # nothing new in the output or the store for so long is a failure
POLL_S = 0.1


class StuckError(Exception):
    """Nothing happened for STUCK_S seconds."""


class Victim:
    """A run of the tiny experiment by its id, through as many commands as it takes."""

    def __init__(self, store: Store, run_id: str, directory: Path) -> None:
        """`store` is watched here; the command reaches it by the environment it inherits."""
        self.store, self.run_id, self.directory = store, run_id, directory
        self.prefix = f"runs/{run_id}"
        self.arguments = ["run", "--run-id", run_id, "--store", store.uri, "--workers", "2"]
        settings = [word for text in SETTINGS for word in ("--set", text)]
        self.settings = ["--experiment", "tiny", *settings]
        self.command = self._start([*self.arguments, *self.settings])
        self.began: set[int] = set()  # every process that any of its commands was seen to have

    def _start(self, arguments: list[str]) -> Started:
        return Started(*arguments, cwd=self.directory)

    @property
    def over(self) -> bool:
        """Whether the command has ended."""
        return self.command.process.poll() is not None

    @property
    def processes(self) -> list[int]:
        """The command's process and all those below it."""
        found = [self.command.process.pid, *descendants(self.command.process.pid)]
        self.began |= set(found)
        return found

    def find(self, name: str) -> list[int]:
        """Those of its processes that are called so."""
        return [pid for pid in self.processes if name in named(pid)]

    def kill(self, pids: list[int], number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to some of them; those that have ended meanwhile don't matter."""
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def has(self, name: str) -> bool:
        """Whether the store holds an object of the run whose key begins so."""
        return any(key.startswith(f"{self.prefix}/{name}") for key in self.list_objects())

    def trains(self) -> bool:
        """Whether its workers have trained an epoch beyond those of the search."""
        saved = list_checkpoints(self.store, f"{self.prefix}/checkpoints")
        return any(one.epoch > SEARCHED for one in saved)

    def list_objects(self) -> list[str]:
        """The keys of what the run has in the store by now."""
        return self.store.list(self.prefix)

    def wait(self, happened: Callable[[], object]) -> bool:
        """Until something has happened, or the command has ended; whether it happened.

        Raises StuckError if neither output nor store changes for STUCK_S.
        """
        seen, since = self._look(), time.monotonic()
        while not happened():
            if self.over:
                return bool(happened())
            self.processes  # noqa: B018, remembers those that are there
            time.sleep(POLL_S)
            looked = self._look()
            if looked != seen:
                seen, since = looked, time.monotonic()
            if time.monotonic() - since > STUCK_S:
                raise StuckError(f"nothing for {STUCK_S:.0f} s: {self.output[-2000:]}")
        return True

    def wait_for_progress(self) -> None:
        """Until the run has something new in the store, or the command has ended.

        Raises StuckError as `wait` does.
        """
        before = self.list_objects()
        self.wait(lambda: self.over or self.list_objects() != before)

    def _look(self) -> tuple[int, list[str]]:
        """What changes while the run gets on."""
        return self.command.log.stat().st_size, self.list_objects()

    @property
    def output(self) -> str:
        """What the command at work, or the last one, has printed."""
        return self.command.output

    def judge_end(self, silent: bool) -> str:
        """What is wrong with how the command ended, if anything; `silent`: it could not speak."""
        if "Traceback" in self.output:
            return "a traceback"
        told = CONTINUE.findall(self.output)
        if self.command.process.returncode == 0 or silent or not self.has("experiment.json"):
            return ""  # of what has not begun there is nothing to continue
        if not told:
            return f"status {self.command.process.returncode}, no command that continues"
        return "" if self.run_id in told[-1] else f"continues another run: {told[-1]}"

    def go_on(self) -> None:
        """Begin again: with the command that it told, or the run's id if it could tell nothing."""
        told = CONTINUE.findall(self.output)
        again = self.arguments if self.has("experiment.json") else self.arguments + self.settings
        arguments = shlex.split(told[-1]) if told else list(again)
        if "--workers" not in arguments:
            arguments += ["--workers", "2"]
        self.command = self._start(arguments)

    def end(self) -> None:
        """Kill what is left of its processes."""
        self.kill(self.processes if not self.over else [])
        self.kill([pid for pid in self.began if named(pid)])
