"""What a search keeps of its trials: each is written to the store when it ends."""

import logging
import math
import threading
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from ray import cloudpickle, tune
from ray.exceptions import RayActorError, RayTaskError
from ray.tune.experiment import Trial as TuneTrial

from tuning.proposals import Proposal
from tuning.trial_checkpoints import drop_beaten
from vae.errors import TRACEBACKS, RefusedError, UserError, describe_error
from vae.runs.records import Result, create_record, read_record
from vae.runs.run import Run
from vae.runs.trials import Trial
from vae.training.fit import Row

REDO = "delete it, and the trial is run again"

log, tracebacks = logging.getLogger("vae.search"), logging.getLogger(TRACEBACKS)


class Listener(Protocol):
    """Who is told of a search, in the driver."""

    def on_epoch(self, number: int, overrides: dict[str, Any], row: Row) -> None:
        """A trial has finished an epoch, with these metrics."""

    def on_resume(self, number: int, overrides: dict[str, Any], rows: list[Row]) -> None:
        """A trial goes on after these epochs, which it had trained before a kill."""

    def on_end(self, trial: Trial) -> None:
        """A trial has ended, well or not, and is in the store."""


def read_trials(run: Run, prefix: str) -> list[Trial]:
    """The trials that have ended, by number. Raises DamagedRecordError."""
    trials = [Trial.from_dict(content) for content in read_records(run, prefix, "trial")]
    return sorted(trials, key=lambda trial: trial.number)


def read_proposals(run: Run, prefix: str) -> list[Proposal]:
    """What every trial that has begun was given, by number. Raises DamagedRecordError."""
    return sorted(Proposal(**content) for content in read_records(run, prefix, "proposal"))


def read_records(run: Run, prefix: str, kind: str) -> list[Result]:
    """The contents of a search's records of one kind."""
    keys = [key for key in run.store.list(prefix) if key.startswith(f"{prefix}/{kind}-")]
    contents = (read_record(run.store, key, REDO) for key in keys)
    return [content for content in contents if content is not None]


class Recorder(tune.Callback):
    """Writes each trial to the store when it ends, and tells the listener. Runs in the driver.

    What the trial had learnt goes then, unless it is one of the `keep` best.
    """

    def __init__(
        self,
        run: Run,
        prefix: str,
        done: list[Trial],
        proposals: list[Proposal],
        listener: Listener,
        keep: int = 0,
    ) -> None:
        self.run, self.prefix, self.listener, self.keep = run, prefix, listener, keep
        self.done, self.proposals = done, proposals
        self.numbers: dict[str, int] = {}
        ended = {trial.number for trial in done}
        self.unfinished = [given for given in proposals if given.number not in ended]
        taken = ended | {given.number for given in self.unfinished}
        self.free = (number for number in count(1) if number not in taken)
        self.rows: dict[str, list[Row]] = {}
        self.unwritten: list[Trial] = []  # the store could not be reached when they ended
        self.refused: Future[None] = Future()  # fails with what the store raised, if it ends it
        self.stopping = threading.Event()  # once nobody waits for the search any more

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks to restore them; here the store is what restores a search.
        return {}

    def on_step_begin(self, iteration: int, trials: list[TuneTrial], **_: Any) -> None:
        """Raise RuntimeError once the search is to stop, which ends it in order."""
        if self.stopping.is_set():
            raise RuntimeError("the search was stopped")

    def on_trial_start(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **_: Any
    ) -> None:
        """What the trial is given is written before it begins: a kill must not change it.

        Raises what the store does, which ends the search: Tune hands on its traceback alone, so
        `refused` fails with it as well.
        """
        given = Proposal(self.assign_number(trial), dict(trial.config))
        key = f"{self.prefix}/proposal-{given.number:04d}.json"
        try:
            create_record(self.run.store, key, given._asdict(), REDO)
        except Exception as error:
            self.refuse(error)
            raise

    def on_trial_result(
        self,
        iteration: int,
        trials: list[TuneTrial],
        trial: TuneTrial,
        result: dict[str, Any],
        **_: Any,
    ) -> None:
        """Keep the epoch's metrics and pass them on; those from before a kill all at once."""
        for name, message in result["warnings"]:
            logging.getLogger(name).warning("%s", message)
        rows = self.rows.setdefault(trial.trial_id, [])
        rows.append(result["row"])
        told = (self.assign_number(trial), dict(trial.config))
        if len(rows) > result["resumed"]:
            self.listener.on_epoch(*told, result["row"])
        elif len(rows) == result["resumed"]:
            self.listener.on_resume(*told, list(rows))

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **_: Any
    ) -> None:
        """The trial ran its epochs, or the scheduler stopped it."""
        self.record(trial, None)

    def on_trial_error(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **_: Any
    ) -> None:
        """What the trial raised is its result; if a process of it was lost, it has none.

        Nor has it one if the store takes nothing more, which ends the search.
        """
        raised = read_error(trial)
        if isinstance(raised, RefusedError):
            self.refuse(raised)
        elif raised:
            tracebacks.info("search   trial %d", self.assign_number(trial), exc_info=raised)
            self.record(trial, describe_error(raised))

    def assign_number(self, trial: TuneTrial) -> int:
        """The number that its settings had before a kill, or else the lowest that is free."""
        if trial.trial_id not in self.numbers:
            again = [given for given in self.unfinished if given.overrides == trial.config]
            for given in again[:1]:
                self.unfinished.remove(given)
            self.numbers[trial.trial_id] = again[0].number if again else next(self.free)
        return self.numbers[trial.trial_id]

    def record(self, trial: TuneTrial, error: str | None) -> None:
        """Write the trial and tell the listener."""
        rows = self.rows.get(trial.trial_id, [])
        finite = [row for row in rows if math.isfinite(row["val/loss"])]
        best: Row = min(finite, key=lambda row: row["val/loss"], default={})
        ended = Trial(
            number=self.assign_number(trial),
            overrides=dict(trial.config),
            loss=best.get("val/loss"),
            epochs=len(rows),
            stopped=error is None and len(rows) < self.run.experiment.search.epochs,
            spans=[(row["began"], row["ended"]) for row in rows],
            error=error,
            metrics=best,
            losses=[row["val/loss"] for row in rows],
        )
        self.done.append(ended)
        self.write(ended)
        self.listener.on_end(ended)

    def write(self, ended: Trial) -> None:
        """Write a trial to the store, or keep it for `write_rest`; what the beaten learnt may go.

        Raises nothing: Tune would print what its callbacks raise, and go on.
        """
        written = [trial for trial in self.done if trial not in self.unwritten]
        try:
            self.create(ended)
            drop_beaten(self.run.store, self.prefix, written, self.keep)
        except UserError as error:
            self.refuse(error)
        except Exception as error:
            log.warning(
                "search   trial %d is put away later: %s", ended.number, describe_error(error)
            )
            self.unwritten.append(ended)

    def refuse(self, error: Exception) -> None:
        """Tell who waits for the search what ends it: the first that did."""
        if not self.refused.done():
            self.refused.set_exception(error)

    def write_rest(self) -> None:
        """Write what could not be written when it ended. Raises what the store does."""
        for ended in self.unwritten:
            self.create(ended)

    def create(self, ended: Trial) -> None:
        """Write a trial once."""
        key = f"{self.prefix}/trial-{ended.number:04d}.json"
        create_record(self.run.store, key, ended.to_dict(), REDO)


def read_error(trial: TuneTrial) -> BaseException | None:
    """The exception that ended the trial, None if that was the loss of a process, or Tune's own.

    From the driver's own folder, because Tune's getter looks in the storage, where it comes later.
    """
    if not trial.pickled_error_file:
        return None
    error = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    cause = error.cause if isinstance(error, RayTaskError) else None
    return None if isinstance(cause, RayActorError) else cause
