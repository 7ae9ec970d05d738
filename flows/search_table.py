"""What a search came to, as Markdown: for Prefect's UI and W&B's report."""

import json
from collections.abc import Mapping
from typing import Any

from vae.runs.confirmations import Confirmed, measure_gain, name_candidate
from vae.runs.trials import Trial, sort_trials

MISSING = "–"


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


def format_confirmed(confirmed: Confirmed) -> list[str]:
    """What the best trials and the experiment's own settings came to with other seeds, in nats."""
    if not confirmed:
        return []
    columns = ["candidate", "with other seeds", "mean", "standard deviation"]
    lines = ["", format_line(columns), format_line(["---"] * len(columns))]
    for one in confirmed:
        losses = ", ".join(show_loss(loss) for loss in one["losses"])
        cells = [name_candidate(one), losses, show_loss(one["mean"]), show_loss(one["spread"])]
        lines.append(format_line(cells))
    return lines + format_gain(confirmed)


def format_gain(confirmed: Confirmed) -> list[str]:
    """What the search was worth, if that is known."""
    gain = measure_gain(confirmed)
    if gain is None:
        return []
    told = f"{gain.mean:.2f} nats less than the experiment's own settings, seed by seed"
    return ["", f"The winner has {told}; standard deviation {gain.spread:.2f}."]


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
