"""The command line: one subcommand for each thing a person does.

Nothing heavy is imported here at module level, so that `vae --help` answers at once.
"""

import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from flows.stages import NAMES, STAGES
from vae.errors import FailedRunError, UserError
from vae.files import write_whole

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
StoreUri = Annotated[
    str, typer.Option(envvar="VAE_STORE", help="A folder, file:///path or s3://bucket/prefix.")
]
RunId = Annotated[
    str | None,
    typer.Option(help="Continue this run; beside --experiment or --set: the name of a new one."),
]
WorkerCount = Annotated[
    str, typer.Option("--workers", metavar="N|MIN:MAX|auto", help="auto: one per GPU, else two.")
]
Model = Annotated[Path, typer.Argument(metavar="DIR", help="A pulled model.")]
Out = Annotated[Path, typer.Option(help="The PNG to write.")]


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
    ) -> None:
        from flows.embedded import run_here

        run_here(until, experiment, overrides or [], store, run_id, workers, STARTED)

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


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(help="A model; all of them without it.")] = None,
    store: StoreUri = "./store",
) -> None:
    """List published models and their versions, the best one marked."""
    from vae.registry.read import list_models, list_versions
    from vae.store.open import open_store

    opened = open_store(store)
    with opened.explain_errors():
        names = [name] if name else list_models(opened)
        found = [(model, info) for model in names for info in list_versions(opened, model)]
    if not names:
        typer.echo(f"no models in {opened.uri}")
    for model, info in found:
        shown = "  ".join(f"{key} {value:.2f}" for key, value in info.metrics.items())
        typer.echo(f"{'*' if info.best else ' '} {model}@{info.version}  {shown or info.damage}")


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


@app.command()
def pull(
    model: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="The best by default.")],
    to: Annotated[Path, typer.Option(help="The folder to make.")],
    store: StoreUri = "./store",
) -> None:
    """Download a model, verify every file's SHA-256, and print its metrics."""
    from vae.registry.read import pull as pull_model
    from vae.store.open import open_store

    name, at, version = model.partition("@")
    if at and not version:
        raise UserError(f"model is '{model}', must be NAME or NAME@VERSION")
    opened = open_store(store)
    with opened.explain_errors():
        manifest = pull_model(opened, name, version or None, to)
    typer.echo(f"{name}@{manifest.version}: {len(manifest.files)} files verified, in {to}")
    typer.echo((to / "metrics.json").read_text(encoding="utf-8").strip())


@app.command()
def sample(
    model: Model,
    out: Out,
    n: Annotated[int, typer.Option(min=1, max=10_000, help="How many images.")] = 64,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1)] = 0,
) -> None:
    """Draw images from a pulled model's prior."""
    from vae.publishing.pictures import draw_samples
    from vae.registry.pulled_model import open_model

    write_picture(out, draw_samples(open_model(model).model, n, seed))


@app.command()
def reconstruct(model: Model, out: Out) -> None:
    """Show test images above their reconstructions."""
    from vae.publishing.pictures import draw_reconstructions
    from vae.registry.pulled_model import open_model

    pulled = open_model(model)
    write_picture(out, draw_reconstructions(pulled.model, pulled.images))


@app.command()
def interpolate(model: Model, out: Out) -> None:
    """Walk from one test image to another in latent space."""
    from vae.publishing.pictures import draw_interpolation
    from vae.registry.pulled_model import open_model

    pulled = open_model(model)
    write_picture(out, draw_interpolation(pulled.model, pulled.images, pulled.labels))


@app.command()
def latent(model: Model, out: Out) -> None:
    """Map test images by their posterior means."""
    from vae.publishing.pictures import draw_latents
    from vae.registry.pulled_model import open_model

    pulled = open_model(model)
    write_picture(out, draw_latents(pulled.model, pulled.images, pulled.labels))


@app.command()
def serve(
    file: Annotated[Path, typer.Option(help="The deployments.")] = Path("prefect.yaml"),
) -> None:
    """Run the scheduled deployments from this machine, until stopped."""
    from flows.deployments import serve_deployments

    serve_deployments(file)


def write_picture(path: Path, png: bytes) -> None:
    """Write a PNG whole. Raises UserError."""
    try:
        write_whole(path, png)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error


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
