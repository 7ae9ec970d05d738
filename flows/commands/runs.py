"""Runs in a store, whether they have ended or not."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import StoreUri
from flows.commands.writing import write_text

app = typer.Typer()


@app.command()
def report(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="A run, as vae runs lists it.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    store: StoreUri = "./store",
) -> None:
    """Make the report of a run as far as it is: still going, failed or published."""
    from vae.publishing.report.findings import gather_findings
    from vae.publishing.report.page import render_page
    from vae.runs.run import open_run
    from vae.store.open import open_store

    opened = open_store(store)
    with opened.explain_errors():
        page = render_page(gather_findings(open_run(opened, run_id)))
    write_text(out, page)
    typer.echo(f"{out} shows run {run_id}")
