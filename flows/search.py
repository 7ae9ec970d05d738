"""The search alone as a Prefect flow: the pipeline's first two stages, and the winner shown."""

import json
import re
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.notices import notify_end
from flows.pipeline import GivenOverrides, make_begin, run_stages
from vae.runs.trials import Trial, sort_trials


@flow(
    name="search",
    flow_run_name="{experiment}",
    persist_result=False,
    on_failure=[notify_end],
    on_crashed=[notify_end],
    on_cancellation=[notify_end],
)
def search(
    experiment: str = "mnist",
    overrides: GivenOverrides | None = None,
    store: str | None = None,
    run_id: str | None = None,
) -> dict[str, Any]:
    """Search hyper-parameters, and leave the winning trial as an artifact beside the run.

    Args:
        experiment: a shipped experiment's name, or the path of a TOML file
        overrides: settings to replace, by dotted name, e.g. {"search.trials": 24}
        store: a folder, file:///path or s3://bucket/prefix; else VAE_STORE, else ./store
        run_id: continue this run; a new one takes its id from the flow run
    """
    begin = make_begin(experiment, overrides, new_seed=False)
    ended = run_stages("search", begin, store, run_id, workers="1")
    create_markdown_artifact(
        format_winner(ended["run_id"], ended["result"]),
        key=make_artifact_key(experiment),
        description=f"The winning trial of run {ended['run_id']}",
    )
    return ended


def make_artifact_key(experiment: str) -> str:
    """One key for every search of an experiment, so that Prefect shows them as a history."""
    return "search-" + re.sub(r"[^a-z0-9]+", "-", experiment.lower()).strip("-")


def format_winner(run_id: str, result: dict[str, Any]) -> str:
    """The winner's settings and a table of all trials, best first; bounds in nats per image."""
    trials = sort_trials([Trial.from_dict(plain) for plain in result["trials"]])
    if not trials:
        return f"Run `{run_id}` has no search: the experiment's search.trials is 0."
    names = sorted({name for trial in trials for name in trial.overrides})
    lines = [f"Run `{run_id}`: the lowest validation loss of {len(trials)} trials has", ""]
    lines += [f"- `{name}` = {json.dumps(value)}" for name, value in result["overrides"].items()]
    columns = ["trial", "val/loss", "epochs", "outcome", *names]
    lines += ["", format_line(columns), format_line(["---"] * len(columns))]
    lines += [format_line(format_cells(trial, names)) for trial in trials]
    return "\n".join(lines) + "\n"


def format_cells(trial: Trial, names: list[str]) -> list[str]:
    """A trial as cells of the table; a dash where it has nothing to say."""
    loss = "–" if trial.loss is None else f"{trial.loss:.2f}"
    values = [json.dumps(trial.overrides.get(name, "–"), ensure_ascii=False) for name in names]
    return [str(trial.number), loss, str(trial.epochs), trial.outcome, *values]


def format_line(cells: list[str]) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(cells)} |"
