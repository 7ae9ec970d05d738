"""One W&B run as the driver sees it."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from vae.tracking.session import Session
from vae.tracking.values import Label, Reference, Value, build_artifact, to_logged

if TYPE_CHECKING:
    import wandb

# Of these, a run's summary keeps the lowest, not the last.
MINIMISED = frozenset({"val/loss", "val/nelbo", "val/bits_per_dim"})
REGISTRY = "VAE_WANDB_REGISTRY"  # the W&B registry that published models are linked to
COMMIT_SECONDS = 30  # for W&B to have a model before it is linked


class TrackedRun:
    """One W&B run, opened by `Tracker.start_run`. Methods return at once; no fault of W&B's is
    raised.
    """

    def __init__(self, session: Session, label: Label) -> None:
        self.label = label
        self._session = session
        self._defined: set[str] = set()  # used on the background thread alone
        self._finished = False

    def log(
        self,
        values: Mapping[str, Value],
        *,
        step: int,
        step_metric: str = "epoch",
        commit: bool = True,
    ) -> None:
        """Add a point at `step` to each curve of `values`, drawn over its `step_metric`.

        Steps never go back: a point that the run has since an earlier attempt is left out. Without
        `commit` the next point may have the same step. Raises ValueError if `values` lacks
        `step_metric`.
        """
        if step_metric not in values:
            raise ValueError(f"values must hold {step_metric!r}, got {sorted(values)}")
        given = dict(values)

        def call(run: "wandb.Run") -> None:
            if step < run.starting_step:
                return
            for key in given.keys() - self._defined - {step_metric}:
                summary = "min" if key in MINIMISED else None
                run.define_metric(key, step_metric=step_metric, summary=summary)
                self._defined.add(key)
            logged = {key: to_logged(value) for key, value in given.items()}
            run.log(logged, step=step, commit=commit)

        self._submit("log", call)

    def show(self, values: Mapping[str, Value]) -> None:
        """Show pictures or histograms that belong to the end of a run, each under its own key."""
        given = dict(values)
        self._submit(
            "show", lambda run: run.log({key: to_logged(value) for key, value in given.items()})
        )

    def set_summary(self, values: Mapping[str, object]) -> None:
        """Set final values, the columns by which W&B compares runs."""
        settled = dict(values)
        self._submit("summary", lambda run: run.summary.update(settled))

    def use_reference(self, reference: Reference) -> None:
        """Say that the run works on an artifact; nothing is read or sent of its files."""

        def call(run: "wandb.Run") -> None:
            # run.use_artifact would wait until W&B has it, and raise where that is never.
            run._log_artifact(
                build_artifact(reference),
                aliases=list(reference.aliases),
                is_user_created=True,
                use_after_commit=True,
            )

        self._submit("dataset", call)

    def log_reference(self, reference: Reference) -> None:
        """Say that the run made an artifact; nothing is read or sent of its files.

        Online it is linked to the W&B registry that VAE_WANDB_REGISTRY names, if it is set.
        """
        registry = os.environ.get(REGISTRY)

        def call(run: "wandb.Run") -> None:
            aliases = list(reference.aliases)
            logged = run.log_artifact(build_artifact(reference), aliases=aliases)
            if registry and not run.offline:
                logged.wait(timeout=COMMIT_SECONDS)
                run.link_artifact(logged, f"wandb-registry-{registry}/{reference.name}", aliases)

        self._submit("artifact", call)

    def alert(self, title: str, text: str, *, error: bool = False) -> None:
        """Have W&B tell those who asked it to, by mail or chat."""
        level = "ERROR" if error else "INFO"
        self._submit("alert", lambda run: run.alert(title, text, level=level))

    @property
    def finished(self) -> bool:
        """Whether it takes no more updates; a run of the same id continues it."""
        return self._finished

    def finish(self, exit_code: int = 0) -> None:
        """End the run, once; a non-zero code marks it failed."""
        if not self._finished:
            self._finished = True
            session = self._session
            session.background.submit(lambda: session.finish(self, exit_code), must=True)

    def _submit(self, what: str, call: Callable[["wandb.Run"], object]) -> None:
        session = self._session
        session.background.submit(lambda: session.perform(self, what, call))
