"""The pipeline in this process: what `vae run` does, with no server and no account needed."""

import logging
import os
import secrets
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.ending import format_command, stop_in_order, tell_again, tell_if_killed
from flows.view import View
from vae.cluster.session import Workers, check_local, join_cluster
from vae.errors import TRACEBACKS, FailedRunError, UserError, describe_error
from vae.experiments.loading import (
    apply_overrides,
    load_experiment,
    parse_experiment,
    parse_override,
)
from vae.experiments.settings import Experiment, Overrides, Value
from vae.runs.run import Run, list_runs, make_run_id, open_run
from vae.scratch import claim_scratch
from vae.store.open import open_store, show_location
from vae.store.promises import Store

log = logging.getLogger("vae.pipeline")
DEFAULT = "mnist"
ENVIRONMENT = {
    "PREFECT_LOGGING_EXTRA_LOGGERS": "vae",  # stage progress shows in Prefect's UI as well
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # The console is for stage progress and one-line errors; Prefect's API keeps the rest.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",  # or a server that is away is told by its threads
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}


def run_here(
    until: str,
    experiment: str | None,
    texts: list[str],
    store: str,
    run_id: str | None,
    workers: str,
    began: float,
) -> None:
    """Check everything that was given, then run the flow up to a stage and print what came out.

    `texts`: overrides as KEY=VALUE. `began`: when the command started, in seconds since the
    epoch. Raises UserError before anything starts for whatever can be known by then.
    """
    overrides: dict[str, Value] = dict(parse_override(text) for text in texts)
    check_local(Workers.parse(workers))
    opened = open_store(store)
    again = format_command(until, run_id, opened.uri, workers) if run_id else None
    scratch = claim_scratch()
    with tell_again(again):
        run = begin_run(opened, experiment, overrides, run_id)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # A server that goes away is told by the progress; Prefect's logs would write of it in mid-line.
    logging.raiseExceptions = False
    settle_home(scratch)
    logging.getLogger("vae").setLevel(logging.INFO)
    command = format_command(until, run.run_id, opened.uri, workers)
    parameters = {
        "experiment": DEFAULT if experiment is None and run_id is None else experiment,
        "overrides": overrides,
        "store": opened.uri,
        "run_id": run.run_id,
        "workers": workers,
        "until": until,
    }
    with tell_if_killed(command), stop_in_order(command), show_progress(run, until) as view:
        logging.getLogger("vae").info("run      %s in %s", run.run_id, opened.uri)
        outcome = run_flow(parameters, began, view)
    print_outcome(outcome, run.experiment.name, opened)


def begin_run(
    store: Store, experiment: str | None, overrides: Overrides, run_id: str | None
) -> Run:
    """The run that is begun or continued, in a store that can be written. Raises UserError."""
    config = choose_experiment(store, experiment, overrides, run_id)
    store.check_writable()
    new_id = make_run_id(config.name if config else DEFAULT)
    return open_run(store, new_id if run_id is None else run_id, config)


def choose_experiment(
    store: Store, experiment: str | None, overrides: Overrides, run_id: str | None
) -> Experiment | None:
    """What a run begins or goes on with; None to continue it under the settings it began with.

    Settings that are given for a run alone are changes to its own. Raises UserError.
    """
    if experiment is None and run_id is not None:
        if not overrides:
            return None
        if run_id in list_runs(store):
            own = open_run(store, run_id).experiment.to_dict()
            return parse_experiment(apply_overrides(own, overrides))
    return load_experiment(experiment or DEFAULT, overrides)


def settle_home(scratch: Path) -> None:
    """Let Prefect's database and Ray's token be temporary where no home can be written.

    Unless they were given another place; then that is tried, and refused by name.
    """
    given = {"RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    if not given and not can_write_home(".ray"):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    if "PREFECT_HOME" not in os.environ and not can_write_home(".prefect"):
        os.environ["PREFECT_HOME"] = str(scratch / "prefect")
        log.warning("HOME can't be written: what Prefect records of this run is not kept")


def can_write_home(name: str) -> bool:
    """Whether a folder of the user's home can be written; it is made."""
    try:
        folder = Path.home() / name
        folder.mkdir(exist_ok=True)
    except (OSError, RuntimeError):  # no home at all
        return False
    return os.access(folder, os.W_OK)


def run_flow(parameters: dict[str, Any], began: float, view: View) -> dict[str, Any]:
    """The pipeline, with a Prefect server and a Ray cluster of its own where none are named.

    Both start while other things are done: the server while the rest is imported, Ray while the
    server starts and the data is fetched.
    """
    from flows.server import connect, launch_server

    server = launch_server()
    from flows.pipeline import pipeline
    from flows.session import COMMAND, Command

    with join_cluster(Workers.parse(parameters["workers"])) as cluster, connect(server):
        COMMAND.set(Command(began, cluster, view))
        try:
            outcome: Any = pipeline(**parameters)  # of Prefect's type, the state that holds it
        except (UserError, FailedRunError):
            raise
        except Exception as error:
            raise FailedRunError(describe_error(error)) from error
    ended: dict[str, Any] = outcome
    return ended


@contextmanager
def show_progress(run: Run, until: str) -> Iterator[View]:
    """A context with the view of a terminal, where there is one; else with lines of the log."""
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":  # its cursor has to move
        from flows.live import LiveView

        with LiveView(run, until) as view:
            yield view
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(lambda record: record.name != TRACEBACKS)
    logging.getLogger("vae").addHandler(handler)
    yield View()


def print_outcome(outcome: dict[str, Any], name: str, store: Store) -> None:
    """What came out, and what to do with it."""
    result = outcome["result"]
    if outcome["stage"] == "publish":
        folder = show_location(result["uri"])
        print(f"\n{outcome['told']}")
        print(f"  pictures  {folder}/samples.png (and reconstructions, interpolation, latent)")
        print(f"  report    {folder}/report.html")
        print(f"  pull      vae pull {name} --to DIR --store {shlex.quote(store.uri)}")
    else:
        print(f"\ncontinue  {format_command('publish', outcome['run_id'], store.uri)}")
    for path in outcome["wandb"]["paths"][:1]:
        print(f"  W&B       wandb leet {path}    (or all of them: wandb leet)")
    for url in outcome["wandb"]["urls"][:1]:
        print(f"  W&B       {url}")
