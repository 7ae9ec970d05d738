"""What a search taught: which settings mattered, how two of them act together, and its winner."""

from collections.abc import Mapping, Sequence
from typing import Any

from vae.publishing.report.charts import (
    BOTTOM,
    HEIGHT,
    RIGHT,
    TOP,
    WIDTH,
    Bar,
    Chart,
    Dot,
    Scale,
    Tick,
    find_left,
    is_finite,
)
from vae.publishing.report.trials import describe, list_settings, make_axis, shorten
from vae.runs.confirmations import (
    Confirmed,
    find_own,
    measure_gain,
    name_candidate,
    sort_confirmed,
)
from vae.runs.trials import Trial, find_best, format_overrides, sort_trials

SHADES = 5  # from the trials with the lowest losses to those with the highest
ROW, THICK = 30, 14  # pixels of a row, of a bar in it
NAMED = 112  # pixels for what stands beside a row
SAID = 34  # pixels for a share behind its bar
INSET = 14  # pixels between an axis and the nearest mark


def draw_learnt(
    trials: Sequence[Trial], importance: Mapping[str, float], confirmed: Confirmed
) -> list[Chart]:
    """As many of the three charts as there is something to say for."""
    charts = [draw_importance(importance)] if importance else []
    pair = choose_pair(trials, importance)
    if pair and any(trial.finished for trial in trials):
        charts.append(draw_interaction(trials, *pair))
    if any(one["mean"] is not None for one in confirmed):
        charts.append(draw_confirmed(trials, confirmed))
    return charts


def draw_importance(importance: Mapping[str, float]) -> Chart:
    """A bar for each setting, as long as its share."""
    scale = Scale(0.0, max(importance.values()), NAMED, WIDTH - RIGHT - SAID)
    rows = [TOP + ROW * (i + 0.5) for i in range(len(importance))]
    bars, names = [], []
    for y, (name, share) in zip(rows, importance.items(), strict=True):
        end = scale.place(share)
        text = f"{name}: {share:.0%}"
        bars.append(Bar(NAMED, y - THICK / 2, round(end - NAMED, 1), THICK, text, "blue"))
        names.append((end + SAID / 2, y + 4, f"{share:.0%}"))
    return Chart(
        title="What made the best quarter of trials the best (PED-ANOVA)",
        label=f"importance of settings: {', '.join(bar.text for bar in bars)}",
        height=TOP + ROW * len(rows) + TOP,
        y_ticks=[Tick(y, shorten(name)) for y, name in zip(rows, importance, strict=True)],
        bars=bars,
        names=names,
        frame=(NAMED, RIGHT, TOP, TOP),
    )


def choose_pair(trials: Sequence[Trial], importance: Mapping[str, float]) -> tuple[str, str] | None:
    """The two settings that mattered most; where that is unknown, both, if two varied."""
    names = [*importance] or list_settings(trials)
    return (names[0], names[1]) if len(names) == 2 or len(importance) > 2 else None


def draw_interaction(trials: Sequence[Trial], across: str, up: str) -> Chart:
    """Two settings of every trial, in the shade of its loss; the best one is ringed."""
    columns = {name: [trial.overrides.get(name) for trial in trials] for name in (across, up)}
    y = make_axis(up, columns[up], HEIGHT - BOTTOM - INSET, TOP + INSET)
    left = find_left(y.ticks)
    x = make_axis(across, columns[across], left + INSET, WIDTH - RIGHT - 2 * INSET)
    shades, dots = shade_trials(trials), []
    for trial in reversed(sort_trials(trials)):  # the best on top
        at = (x.place(trial.overrides.get(across)), y.place(trial.overrides.get(up)))
        if at[0] is not None and at[1] is not None:
            dots.append(Dot(at[0], at[1], describe(trial), shades[trial.number]))
    failed = {"none": "no loss"} if "none" in shades.values() else {}
    return Chart(
        title=f"{x.name} across, {y.name} up, and the validation loss of each trial",
        label=f"{len(dots)} trials by {across} and {up}, in the shade of their loss",
        x_title=x.name,
        x_ticks=x.ticks,
        y_ticks=y.ticks,
        dots=dots,
        legend={"s0": "lowest fifth", f"s{SHADES - 1}": "highest fifth", "best": "best"} | failed,
        frame=(left, RIGHT, TOP, BOTTOM),
    )


def shade_trials(trials: Sequence[Trial]) -> dict[int, str]:
    """The style of each trial's dot by its number: s0 for the lowest fifth of losses, and so on."""
    finished, best = [t for t in sort_trials(trials) if t.finished], find_best(trials)
    shades = {trial.number: "none" for trial in trials}
    for rank, trial in enumerate(finished):
        shades[trial.number] = f"s{rank * SHADES // len(finished)}"
    if best is not None:
        shades[best.number] += " best"
    return shades


def draw_confirmed(trials: Sequence[Trial], confirmed: Confirmed) -> Chart:
    """The losses of each candidate with other seeds, their mean and standard deviation in a row."""
    rows = sort_confirmed(confirmed)
    chosen = {0: None} | {trial.number: trial.loss for trial in trials}
    every = [loss for one in rows for loss in (*one["losses"], *span(one), chosen[one["number"]])]
    known = [loss for loss in every if is_finite(loss)]
    x = Scale(min(known), max(known), NAMED + INSET, WIDTH - RIGHT - INSET)
    bars, dots, ticks = [], [], []
    for i, one in enumerate(rows):
        y, name, style = TOP + ROW * (i + 0.5), name_candidate(one), "blue" if i else "orange"
        ticks.append(Tick(y, f"trial {one['number']}" if one["number"] else "own settings"))
        bars += mark_mean(x, y, one, style)
        for loss in filter(is_finite, one["losses"]):
            dots.append(Dot(x.place(loss), y, f"{name}, another seed: {loss:.2f} nats", style))
        if is_finite(was := chosen[one["number"]]):
            dots.append(Dot(x.place(was), y, f"{name}, as chosen: {was:.2f} nats", "none"))
    return Chart(
        title="The best trials with other seeds: losses, mean and standard deviation",
        label=f"{len(rows)} candidates by their mean validation loss with other seeds",
        height=TOP + ROW * len(rows) + BOTTOM,
        x_title="validation loss (nats)",
        x_ticks=x.list_ticks(4),
        y_ticks=ticks,
        bars=bars,
        dots=dots,
        legend={"orange": "the winner", "none": "the loss that a trial was chosen by"},
        frame=(NAMED, RIGHT, TOP, BOTTOM),
    )


def span(one: Mapping[str, Any]) -> tuple[float, ...]:
    """A standard deviation to both sides of the mean; nothing if training failed with a seed."""
    if one["mean"] is None or one["spread"] is None:
        return ()
    return one["mean"] - one["spread"], one["mean"] + one["spread"]


def mark_mean(x: Scale, y: float, one: Mapping[str, Any], style: str) -> list[Bar]:
    """A band as wide as the standard deviation to both sides, and an upright mark at the mean."""
    if not span(one):
        return []
    (low, high), mean = (x.place(end) for end in span(one)), x.place(one["mean"])
    text = f"{name_candidate(one)}: {tell_mean(one)}"
    band = Bar(low, y - THICK / 2, round(high - low, 1), THICK, text, f"{style} band")
    return [band, Bar(mean - 1, y - THICK / 2, 2, THICK, text, style)]


def tell_mean(one: Mapping[str, Any]) -> str:
    """A candidate's mean and how sure it is, in words."""
    if one["mean"] is None:
        return "training failed with a seed"
    seeds = len(one["losses"])
    return f"mean {one['mean']:.2f} nats, standard deviation {one['spread']:.2f} of {seeds} seeds"


def tell_winner(confirmed: Confirmed) -> str:
    """Who won, and by how much it is better than the experiment's own settings."""
    rows = sort_confirmed(confirmed)
    if not rows or rows[0]["mean"] is None:
        return ""
    winner, gain = rows[0], measure_gain(confirmed)
    name = name_candidate(winner)
    told = f"With other seeds {name} won: {tell_mean(winner)}."
    own = find_own(confirmed)
    if gain is None or own is winner or own is None:
        return told
    return (
        f"{told} Seed by seed that is {gain.mean:.2f} nats less than the experiment's own "
        f"settings, standard deviation {gain.spread:.2f}; they came to {tell_mean(own)}."
    )


def list_candidates(confirmed: Confirmed) -> list[list[str]]:
    """A row for each: name, settings, losses, mean, standard deviation, the winner first."""
    return [
        [
            name_candidate(one),
            format_overrides(one["overrides"]),
            ", ".join("failed" if loss is None else f"{loss:.2f}" for loss in one["losses"]),
            *("none" if one[key] is None else f"{one[key]:.2f}" for key in ("mean", "spread")),
        ]
        for one in sort_confirmed(confirmed)
    ]
