"""The stages of the pipeline, in order: the one list of them.

Light to import: the command line has a subcommand for each. What a stage does is named as
"module:function", and imported when a flow is.
"""

import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from vae.errors import UserError, suggest

if TYPE_CHECKING:
    from flows.session import Session, Work

HOUR_S = 3600.0


class Stage(NamedTuple):
    """One stage: its name, what it does, the function that does it, and how long it may take."""

    name: str
    does: str
    function: str
    timeout_s: float

    def load(self) -> "Callable[[Session], Work]":
        """Import the function that does the work."""
        function: Callable[[Session], Work] = pkgutil.resolve_name(self.function)
        return function


STAGES = (
    Stage(
        "data",
        "Fetch, verify, split and store the dataset.",
        "flows.work:prepare_dataset",
        timeout_s=1 * HOUR_S,
    ),
    Stage(
        "search",
        "Search hyper-parameters with Ray Tune.",
        "flows.work:search_settings",
        timeout_s=48 * HOUR_S,
    ),
    Stage(
        "train",
        "Train the winner with DDP on Ray Train, and bound the validation split.",
        "flows.work:train_winner",
        timeout_s=48 * HOUR_S,
    ),
    Stage(
        "evaluate",
        "Judge the best epoch on the test split.",
        "flows.work:evaluate_best_epoch",
        timeout_s=12 * HOUR_S,
    ),
    Stage(
        "publish",
        "Publish the model, and move the pointer if it is the best.",
        "flows.work:publish_model",
        timeout_s=1 * HOUR_S,
    ),
)
NAMES = [stage.name for stage in STAGES]


def check_stage(name: str) -> str:
    """Return the name of a stage. Raises UserError for anything else."""
    if name not in NAMES:
        raise UserError(f"no stage '{name}', allowed: {', '.join(NAMES)}{suggest(name, NAMES)}")
    return name
