"""What W&B's view of an experiment, and the report of a run's search, are made of."""

from collections.abc import Mapping, Sequence

from flows.search_table import format_winner
from vae.errors import UserError
from vae.experiments.loading import list_shipped, load_experiment
from vae.experiments.search import Range
from vae.runs.records import Result
from vae.runs.run import Run, open_run
from vae.store.promises import Store
from vae.tracking.dashboard import find_place, save_report, save_view
from vae.tracking.panels import Searched


def make_view(experiment: str | None) -> str:
    """Make or replace the view of an experiment, or of all; its address. Raises UserError."""
    found = [load_experiment(name) for name in ([experiment] if experiment else list_shipped())]
    space = {name: values for one in found for name, values in one.search.space.items()}
    name = found[0].name if experiment else None
    return save_view(find_place(), name, list_searched(space, [*space]))


def make_report(store: Store, run_id: str) -> str:
    """Make or replace the report of a run's search; its address.

    Raises UserError, also for a search that has not ended, or of which there is none.
    """
    run = open_run(store, run_id)
    result = read_search(run)
    space, importance = run.experiment.search.space, result["importance"]
    searched = list_searched(space, [*importance, *space])
    return save_report(find_place(), run_id, format_winner(run_id, result), searched)


def read_search(run: Run) -> Result:
    """What a run's search came to. Raises UserError if there is nothing yet."""
    result = run.read_result("search")
    if result is None:
        raise UserError(
            f"the search of run '{run.run_id}' has not ended: continue it with "
            f"vae search --run-id {run.run_id}, then make its report"
        )
    if not result["trials"]:
        raise UserError(f"run '{run.run_id}' has no search: its search.trials is 0")
    return result


def list_searched(space: Mapping[str, Range], order: Sequence[str]) -> list[Searched]:
    """The settings of a search, each once, in an order."""
    return [Searched(name, space[name].log) for name in dict.fromkeys(order)]
