"""How far each stage is, as progress artifacts in Prefect's UI."""

import logging
import threading
import time
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from flows.artifacts import make_artifact_key
from flows.view import View
from vae.errors import extract_message
from vae.experiments.settings import Experiment
from vae.runs.run import Run
from vae.runs.trials import Trial

log = logging.getLogger("vae.pipeline")
EVERY_S = 10.0  # between two updates of a stage
CLOSE_S = 5.0  # for what is still to be sent when the run ends


class ProgressBars(View):
    """A view that shows each stage's progress in Prefect, and passes on all that it is told.

    Prefect is asked on a thread of its own, at most every EVERY_S for a stage: training never waits
    for it. What fails there is a warning, told once. Made inside a flow run.
    """

    def __init__(self, inner: View, run: Run) -> None:
        self.inner, self.run = inner, run
        self.epochs: dict[int, int] = {}  # done, by trial
        self.told_at: dict[str, float] = {}
        self.shown: dict[str, UUID] = {}
        self.queue: SimpleQueue[tuple[str, float] | None] = SimpleQueue()
        context = copy_context()  # with the flow run and the server that it is of
        self.thread = threading.Thread(target=context.run, args=(self.send_all,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Send what is left, unless that takes longer than CLOSE_S."""
        self.queue.put(None)
        self.thread.join(CLOSE_S)

    def on_stage_start(self, stage: str) -> None:
        self.inner.on_stage_start(stage)
        self.tell(stage, 0.0)

    def on_stage_end(self, stage: str, seconds: float) -> None:
        self.inner.on_stage_end(stage, seconds)
        self.tell(stage, 1.0)

    def on_figures(self, stage: str, line: str) -> None:
        self.inner.on_figures(stage, line)

    def on_trial_epoch(self, number: int, overrides: dict[str, Any], row: dict[str, float]) -> None:
        self.inner.on_trial_epoch(number, overrides, row)
        self.tell_trial(number, int(row["epoch"]))

    def on_trial_end(self, trial: Trial) -> None:
        self.inner.on_trial_end(trial)
        self.tell_trial(trial.number, self.experiment.search.epochs)

    def on_fit_epoch(self, row: dict[str, float]) -> None:
        self.inner.on_fit_epoch(row)
        self.tell("train", row["epoch"] / self.experiment.train.epochs)

    def on_fit_step(self, epoch: int, step: int, steps: int) -> None:
        self.inner.on_fit_step(epoch, step, steps)
        self.tell("train", (epoch - 1 + step / steps) / self.experiment.train.epochs)

    @property
    def experiment(self) -> Experiment:
        """The settings that say how much there is to do."""
        return self.run.experiment

    def tell_trial(self, number: int, epochs: int) -> None:
        """Take in how many epochs of a trial are done or will not be."""
        config = self.experiment.search
        self.epochs[number] = epochs
        self.tell("search", sum(self.epochs.values()) / (config.trials * config.epochs))

    def tell(self, stage: str, done: float) -> None:
        """Have a stage's progress sent, from 0 to 1; between its ends not too often."""
        now = time.monotonic()
        if 0 < done < 1 and now - self.told_at.get(stage, now) < EVERY_S:
            return
        self.told_at[stage] = now
        self.queue.put((stage, min(1.0, done)))

    def send_all(self) -> None:
        """Send whatever is told, until there is an end to it."""
        failed = False
        for stage, done in iter(self.queue.get, None):
            try:
                self.send(stage, 100 * done)
            except Exception as error:  # the run is never the worse for it
                if not failed:
                    log.warning("Prefect does not show the progress: %s", extract_message(error))
                failed = True

    def send(self, stage: str, percent: float) -> None:
        """Make a stage's artifact, or update it."""
        if stage in self.shown:
            update_progress_artifact(self.shown[stage], progress=percent)
            return
        made: Any = create_progress_artifact(
            progress=percent,
            key=make_artifact_key(f"progress-{stage}", self.experiment.name),
            description=f"{stage} of run {self.run.run_id}",
        )
        self.shown[stage] = made
