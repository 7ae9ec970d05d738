"""What people are told of a search as a whole: where it begins, why it ends, what it taught."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from flows.progress import tell_cut
from flows.session import Session
from flows.tracking import describe_search
from vae.experiments.search import SearchConfig
from vae.runs.confirmations import Confirmation, measure_gain
from vae.runs.trials import Trial, format_loss, format_overrides

log = logging.getLogger("vae.pipeline")
REPEAT_LINE = "search   again with seed %d  epoch %d of %d  val %s  (%s)"
CONFIRMED_LINE = "search   %s with other seeds: val %s nats, mean %.2f, standard deviation %s"
GAIN_LINE = (
    "search   that is %.2f nats less than the experiment's own settings, seed by seed, standard "
    "deviation %.2f"
)


def tell_grid(config: SearchConfig) -> None:
    """A line if the search leaves out points of its grid."""
    if config.sampler == "grid" and config.trials < config.grid_size:
        log.info("search   tries %d of the grid's %d points", config.trials, config.grid_size)


def tell_end(trials: Sequence[Trial], config: SearchConfig, *, settled: bool) -> None:
    """A line if the search ended before all its trials."""
    if not settled:
        tell_cut("search", "trials", len(trials), config.trials)
    elif len(trials) < config.trials:
        line = "search   ends after %d of %d trials: the last %d were no better than the best"
        log.info(line, len(trials), config.trials, config.patience)


def tell_importance(importance: Mapping[str, float]) -> None:
    """A line of what mattered, if there were trials enough to say."""
    if importance:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in importance.items())
        log.info("search   what made the best quarter of trials the best: %s", shares)


def tell_confirmed(confirmed: Sequence[Confirmation], best: Confirmation) -> None:
    """A line for each candidate, and what the winner by the mean has over the experiment's own."""
    for one in confirmed:
        losses = ", ".join("failed" if loss is None else f"{loss:.2f}" for loss in one.losses)
        spread = "unknown" if one.spread is None else f"{one.spread:.2f}"
        log.info(CONFIRMED_LINE, one.title, losses, one.mean, spread)
    log.info("search   %s wins by its mean", best.title)
    gain = measure_gain([one.to_dict() for one in confirmed])
    if gain and not best.own:
        log.info(GAIN_LINE, *gain)


def track_search(session: Session, result: Mapping[str, Any]) -> None:
    """In W&B, beside the trials: what the search taught, if it did. `result`: of its stage."""
    if told := describe_search(result):
        tracked = session.track("search", session.run.experiment)
        tracked.set_summary(told)
        tracked.finish()


class ConfirmProgress:
    """Tells of every epoch with another seed; the curves and the view have the trials alone."""

    def __init__(self, config: SearchConfig) -> None:
        self.epochs = config.epochs

    def on_epoch(self, number: int, overrides: dict[str, Any], row: dict[str, float]) -> None:
        """A line."""
        varied = {name: value for name, value in overrides.items() if name != "seed"}
        told = (row["epoch"], self.epochs, format_loss(row), format_overrides(varied))
        log.info(REPEAT_LINE, overrides["seed"], *told)

    def on_resume(
        self, number: int, overrides: dict[str, Any], rows: list[dict[str, float]]
    ) -> None:
        """The line of the last of them."""
        self.on_epoch(number, overrides, rows[-1])

    def on_end(self, trial: Trial) -> None:
        """Nothing more: the line of its last epoch is there."""
