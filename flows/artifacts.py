"""What a run leaves in Prefect's UI: its trials, and its model beside the best before it."""

import re
from typing import Any

from prefect.artifacts import create_markdown_artifact

from flows.search_table import MISSING, format_line, format_winner
from vae.errors import UserError
from vae.registry.read import read_metrics
from vae.runs.run import Run


def show_trials(run: Run, result: dict[str, Any]) -> None:
    """Leave the winner and a table of all trials. `result`: of the search stage."""
    create_markdown_artifact(
        format_winner(run.run_id, result),
        key=make_artifact_key("search", run.experiment.name),
        description=f"The winning trial of run {run.run_id}",
    )


def show_model(run: Run, ended: dict[str, Any]) -> None:
    """Leave the published model's metrics beside those of the best before it, and links.

    `ended`: what `run_stages` returns for a run that is published.
    """
    result, name = ended["result"], run.experiment.name
    create_markdown_artifact(
        format_model(
            ended,
            read_metrics(run.store, name, result["version"]),
            read_previous_metrics(run, result.get("previous_version")),
        ),
        key=make_artifact_key("model", name),
        description=ended["told"],
    )


def read_previous_metrics(run: Run, version: str | None) -> dict[str, float]:
    """The metrics of the best before; none if there was none, or it is damaged or gone by now."""
    if version is None:
        return {}
    try:
        return read_metrics(run.store, run.experiment.name, version)
    except UserError:
        return {}


def make_artifact_key(kind: str, name: str) -> str:
    """One key for all of a kind and a name, so that Prefect shows them as a history."""
    return f"{kind}-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def format_model(
    ended: dict[str, Any], metrics: dict[str, float], previous: dict[str, float]
) -> str:
    """How the run ended, both columns of metrics (nats unless their name says else), links."""
    result = ended["result"]
    lines = [
        f"{ended['told']}",
        "",
        "| metric | this version | best before |",
        "| --- | --- | --- |",
    ]
    for name, value in metrics.items():
        before = f"{previous[name]:.4g}" if name in previous else MISSING
        lines.append(format_line([name, f"{value:.4g}", before]))
    lines += [
        "",
        f"- best before: {result.get('previous_version') or 'none'}",
        f"- report: {result['uri']}/report.html",
        f"- store: {result['uri']}",
        f"- run: `{ended['run_id']}`",
    ]
    lines += [f"- W&B: <{url}>" for url in ended["wandb"]["urls"]]
    return "\n".join(lines) + "\n"
