"""The search alone as a Prefect flow: the pipeline's first two stages, and the winner shown."""

from typing import Any

from prefect import flow

from flows.notices import notify_end
from flows.pipeline import GivenOverrides, make_begin, run_stages


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
    time_budget: str | None = None,
) -> dict[str, Any]:
    """Search hyper-parameters, and leave the winning trial as an artifact beside the run.

    Args:
        experiment: a shipped experiment's name, or the path of a TOML file
        overrides: settings to replace, by dotted name, e.g. {"search.trials": 24}
        store: a folder, file:///path or s3://bucket/prefix; else VAE_STORE, else ./store
        run_id: continue this run; a new one takes its id from the flow run
        time_budget: time after which no trial is begun: 90s, 30m or 2h
    """
    if time_budget:
        overrides = (overrides or {}) | {"time_budget": time_budget}
    begin = make_begin(experiment, overrides, new_seed=False)
    return run_stages("search", begin, store, run_id, workers="1")
