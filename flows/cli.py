"""The command line: one subcommand for each thing a person does.

Nothing heavy is imported here at module level, so that `vae --help` answers at once.
"""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from vae.errors import UserError

STARTED = time.time()
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Experiment = Annotated[
    str | None,
    typer.Option("--experiment", help="A shipped experiment, or a TOML file; mnist by default."),
]
Settings = Annotated[
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


def stage_command(stage: str, text: str) -> None:
    """Register a subcommand that runs the pipeline up to and including a stage."""

    def command(
        experiment: Experiment = None,
        settings: Settings = None,
        store: StoreUri = "./store",
        run_id: RunId = None,
        workers: WorkerCount = "auto",
    ) -> None:
        from flows.embedded import run_here

        run_here(stage, experiment, settings or [], store, run_id, workers, STARTED)

    app.command(stage, help=text)(command)


stage_command("run", "Take a dataset to a published model: all five stages.")
stage_command("data", "Fetch, verify, split and store the dataset.")
stage_command("search", "Search hyper-parameters, after what comes before.")
stage_command("train", "Train the winner with DDP, after what comes before.")
stage_command("evaluate", "Judge the best epoch on the test split, after what comes before.")
stage_command("publish", "Publish the model, after what comes before: the same as run.")


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(help="A model; all of them without it.")] = None,
    store: StoreUri = "./store",
) -> None:
    """List published models and their versions, the best one marked."""
    from vae.registry.publish import list_models, list_versions
    from vae.store import open_store

    opened = open_store(store)
    with opened.explained():
        names = [name] if name else list_models(opened)
        found = [(model, info) for model in names for info in list_versions(opened, model)]
    if not names:
        typer.echo(f"no models in {opened.uri}")
    for model, info in found:
        shown = "  ".join(f"{key} {value:.2f}" for key, value in info.metrics.items())
        typer.echo(f"{'*' if info.best else ' '} {model}@{info.version}  {shown or info.damage}")


@app.command()
def pull(
    model: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="The best by default.")],
    to: Annotated[Path, typer.Option(help="The folder to make.")],
    store: StoreUri = "./store",
) -> None:
    """Download a model, verify every file's SHA-256, and print its metrics."""
    from vae.registry.publish import pull as pull_model
    from vae.store import open_store

    name, at, version = model.partition("@")
    if at and not version:
        raise UserError(f"model is '{model}', must be NAME or NAME@VERSION")
    opened = open_store(store)
    with opened.explained():
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
    from vae.publishing import pictures
    from vae.registry.pulled_model import open_model

    pictures.write_png(out, pictures.sample_grid(open_model(model).model, n, seed))


@app.command()
def reconstruct(model: Model, out: Out) -> None:
    """Show test images above their reconstructions."""
    from vae.publishing import pictures
    from vae.registry.pulled_model import open_model

    pulled = open_model(model)
    pictures.write_png(out, pictures.reconstruction_grid(pulled.model, pulled.images))


@app.command()
def interpolate(model: Model, out: Out) -> None:
    """Walk from one test image to another in latent space."""
    from vae.publishing import pictures
    from vae.registry.pulled_model import open_model

    pulled = open_model(model)
    png = pictures.interpolation_grid(pulled.model, pulled.images, pulled.labels)
    pictures.write_png(out, png)


@app.command()
def latent(model: Model, out: Out) -> None:
    """Map test images by their posterior means."""
    from vae.publishing import pictures
    from vae.registry.pulled_model import open_model

    pulled = open_model(model)
    pictures.write_png(out, pictures.latent_map(pulled.model, pulled.images, pulled.labels))


@app.command()
def serve(
    file: Annotated[Path, typer.Option(help="The deployments.")] = Path("prefect.yaml"),
) -> None:
    """Run the scheduled deployments from this machine, until stopped."""
    from flows.deployments import serve_deployments

    serve_deployments(file)


def main() -> None:
    """Run the command line; what a user can mend is one line and status 2."""
    try:
        app()
    except UserError as error:
        typer.echo(f"vae: {error}", err=True)
        sys.exit(2)
