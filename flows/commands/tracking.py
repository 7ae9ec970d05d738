"""Weights & Biases: send what was tracked offline, make its dashboards."""

from typing import Annotated

import typer

from flows.commands.options import StoreUri
from vae.errors import UserError

app = typer.Typer()


@app.command()
def sync(
    run_id: Annotated[str | None, typer.Argument(help="A run; all of them without it.")] = None,
    store: StoreUri = "./store",
) -> None:
    """Send to W&B what was tracked offline, on whatever machine it was."""
    from flows.tracked_runs import sync as sync_runs
    from vae.runs.run import open_run
    from vae.store.open import open_store

    opened = open_store(store)
    with opened.explain_errors():
        if run_id:
            open_run(opened, run_id)
        for line in sync_runs(opened, run_id):
            typer.echo(line)


@app.command()
def dashboard(
    run_id: Annotated[
        str | None, typer.Argument(help="A run whose search is to be reported, with no view made.")
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(help="View this one's runs; without it those of all.")
    ] = None,
    store: StoreUri = "./store",
) -> None:
    """Make or replace a saved view of runs in W&B, or the report of a run's search."""
    if run_id and experiment:
        raise UserError("RUN_ID has its own experiment: leave --experiment out")
    try:
        from flows.dashboard import make_report, make_view
    except ModuleNotFoundError as error:
        if error.name != "wandb_workspaces":
            raise
        hint = "vae dashboard needs wandb-workspaces: pip install 'vae-pipeline[dashboard]'"
        raise UserError(hint) from error
    from vae.store.open import open_store

    if not run_id:
        typer.echo(f"the view of {experiment or 'all experiments'} is at {make_view(experiment)}")
        return
    opened = open_store(store)
    with opened.explain_errors():
        typer.echo(f"the report of the search of {run_id} is at {make_report(opened, run_id)}")
