"""What people are told of a search as a whole: where it begins, why it ends, what it taught."""

import logging
from collections.abc import Sequence

from flows.progress import tell_cut
from vae.experiments.search import SearchConfig
from vae.runs.trials import Trial

log = logging.getLogger("vae.pipeline")


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
