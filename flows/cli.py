"""The command line: one subcommand for each thing a person does.

Nothing heavy is imported here at module level, so that `vae --help` answers at once.
"""

import json
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from flows.commands import curation, inference, pictures, registry, tracking
from flows.commands import runs as run_commands
from flows.commands.options import StoreUri
from flows.stages import NAMES, STAGES
from vae.errors import FailedRunError, UserError

STARTED = time.time()
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Experiment = Annotated[
    str | None,
    typer.Option("--experiment", help="A shipped experiment, or a TOML file; mnist by default."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a setting; may be repeated."),
]
RunId = Annotated[
    str | None,
    typer.Option(help="Continue this run; beside --experiment or --set: the name of a new one."),
]
TimeBudget = Annotated[
    str | None,
    typer.Option(metavar="90s|30m|2h", help="After it, no trial and no epoch is begun."),
]
WorkerCount = Annotated[
    str, typer.Option("--workers", metavar="N|MIN:MAX|auto", help="auto: one per GPU, else two.")
]


def print_version(asked: bool) -> None:
    """Print the package's version and end, if that was asked for."""
    if asked:
        typer.echo(f"vae-pipeline {metadata.version('vae-pipeline')}")
        raise typer.Exit


@app.callback()
def begin(
    version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Take an image dataset to a published, verified VAE.

    The command of a stage (data, search, train, evaluate, publish) first runs those before it, as
    far as the store does not have their results.
    """


def add_stage_command(name: str, until: str, does: str) -> None:
    """Register a subcommand that runs the pipeline up to and including a stage."""

    def command(
        experiment: Experiment = None,
        overrides: Overrides = None,
        store: StoreUri = "./store",
        run_id: RunId = None,
        workers: WorkerCount = "auto",
        time_budget: TimeBudget = None,
    ) -> None:
        from flows.embedded import run_here

        budget = [f"time_budget={json.dumps(time_budget)}"] if time_budget else []
        given = [*(overrides or []), *budget]
        run_here(until, experiment, given, store, run_id, workers, STARTED)

    app.command(name, help=does)(command)


add_stage_command("run", NAMES[-1], "Take a dataset to a published model: all stages.")
for _stage in STAGES:
    add_stage_command(_stage.name, _stage.name, _stage.does)


@app.command()
def settings(
    experiment: Annotated[
        str | None, typer.Option(help="Show this one's values; the defaults without it.")
    ] = None,
    markdown: Annotated[bool, typer.Option(help="As docs/settings.md has them.")] = False,
) -> None:
    """List every setting: its value or default, what it may be, and what it does."""
    from vae.experiments.loading import load_experiment
    from vae.experiments.table import list_settings, read_values, to_markdown

    if markdown:
        typer.echo(to_markdown(), nl=False)
        return
    values = read_values(load_experiment(experiment)) if experiment else {}
    for row in list_settings():
        value = values.get(row.name, row.default)
        changed = row.default and value != row.default
        default = f"    (default {row.default})" if changed else ""
        typer.secho(f"{row.name} = {value}{default}", bold=True)
        typer.echo(f"    {row.meaning}\n    {row.allowed}")


app.add_typer(registry.app)
app.add_typer(curation.app)


@app.command()
def runs(store: StoreUri = "./store") -> None:
    """List every run: its stage, age and size, and the command that continues it."""
    from vae.store.open import open_store
    from vae.upkeep.look import look
    from vae.upkeep.report import format_runs

    opened = open_store(store)
    with opened.explain_errors():
        typer.echo("\n".join(format_runs(look(opened), NAMES, opened.uri, time.time())))


@app.command()
def gc(
    keep: Annotated[int, typer.Option(min=1, help="The newest versions of a model that stay.")] = 5,
    older_than: Annotated[str, typer.Option(help="What is older goes: 12h, 30d, 2w.")] = "30d",
    delete: Annotated[bool, typer.Option("--delete", help="Do it, not only list it.")] = False,
    store: StoreUri = "./store",
) -> None:
    """List what nobody needs any more in the store and beside it; with --delete, delete it.

    The best version of a model, the one before it and all that is named or at work stay.
    """
    from vae.store.open import open_store
    from vae.upkeep.report import format_sweep
    from vae.upkeep.sweep import make_policy, sweep

    swept = sweep(open_store(store), make_policy(keep, older_than, STARTED), delete=delete)
    typer.echo("\n".join(format_sweep(swept)))
    if swept.failed:
        raise typer.Exit(1)


app.add_typer(run_commands.app)
app.add_typer(pictures.app)
app.add_typer(inference.app)
app.add_typer(tracking.app)


@app.command()
def serve(
    file: Annotated[Path, typer.Option(help="The deployments.")] = Path("prefect.yaml"),
) -> None:
    """Run the scheduled deployments from this machine, until stopped."""
    from flows.deployments import serve_deployments

    serve_deployments(file)


def check_current_folder() -> None:
    """Raise UserError if the current folder was deleted: most of what is imported asks for it."""
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UserError("the current folder was deleted, go to another one: cd") from error


def main() -> None:
    """Run the command line; what a user can fix is one line and status 2, other failures 1."""
    try:
        check_current_folder()
        app()
    except FailedRunError as error:
        typer.echo(f"vae: {error}", err=True)
        sys.exit(1)
    except UserError as error:
        typer.echo(f"vae: {error}", err=True)
        sys.exit(2)
