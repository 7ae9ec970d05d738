"""What a run leaves in Prefect's UI: its trials, and its model beside the best before it."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from prefect.artifacts import create_markdown_artifact

from vae.errors import UserError
from vae.registry.read import read_metrics
from vae.runs.run import Run
from vae.runs.trials import Trial, sort_trials

MISSING = "–"


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


def format_winner(run_id: str, result: dict[str, Any]) -> str:
    """The winner's settings and a table of all trials, best first; bounds in nats per image."""
    trials = sort_trials([Trial.from_dict(plain) for plain in result["trials"]])
    names = sorted({name for trial in trials for name in trial.overrides})
    by = "mean with other seeds" if result["confirmed"] else "validation loss"
    lines = [f"Run `{run_id}`: the lowest {by} of {len(trials)} trials has", ""]
    lines += [f"- `{name}` = {json.dumps(value)}" for name, value in result["overrides"].items()]
    columns = ["trial", "val/loss", "epochs", "outcome", *names]
    lines += ["", format_line(columns), format_line(["---"] * len(columns))]
    lines += [format_line(format_cells(trial, names)) for trial in trials]
    lines += format_importance(result["importance"]) + format_confirmed(result["confirmed"])
    return "\n".join(lines) + "\n"


def format_importance(importance: Mapping[str, float]) -> list[str]:
    """What made the best quarter of trials the best; nothing where there were too few to say."""
    if not importance:
        return []
    rows = [format_line([f"`{name}`", f"{share:.0%}"]) for name, share in importance.items()]
    return ["", format_line(["setting", "importance"]), format_line(["---"] * 2), *rows]


def format_confirmed(confirmed: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the best trials came to with other seeds, in nats per image."""
    if not confirmed:
        return []
    columns = ["trial", "with other seeds", "mean", "standard deviation"]
    lines = ["", format_line(columns), format_line(["---"] * len(columns))]
    for one in confirmed:
        losses = ", ".join(show_loss(loss) for loss in one["losses"])
        cells = [str(one["number"]), losses, show_loss(one["mean"]), show_loss(one["spread"])]
        lines.append(format_line(cells))
    return lines


def show_loss(loss: float | None) -> str:
    """Nats with two digits; a dash for none."""
    return MISSING if loss is None else f"{loss:.2f}"


def format_cells(trial: Trial, names: list[str]) -> list[str]:
    """A trial as cells of the table; a dash where it has nothing to say."""
    values = [json.dumps(trial.overrides.get(name, MISSING), ensure_ascii=False) for name in names]
    return [str(trial.number), show_loss(trial.loss), str(trial.epochs), trial.outcome, *values]


def format_line(cells: list[str]) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(cells)} |"
