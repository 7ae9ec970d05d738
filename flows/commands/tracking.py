"""Weights & Biases: send what was tracked offline."""

from typing import Annotated

import typer

from flows.commands.options import StoreUri

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
