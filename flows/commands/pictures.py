"""Pictures of a pulled model."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Model, Out
from flows.commands.writing import make_folder, write_bytes

app = typer.Typer()


@app.command()
def sample(
    model: Model,
    out: Annotated[Path, typer.Option(help="The PNG to write; with --separate, a folder.")],
    n: Annotated[int, typer.Option(min=1, max=10_000, help="How many images.")] = 64,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1)] = 0,
    temperature: Annotated[
        float, typer.Option(min=0, max=10, help="Of the prior; below 1, closer to the usual.")
    ] = 1.0,
    separate: Annotated[
        bool, typer.Option("--separate/--grid", help="A PNG an image, or one of all.")
    ] = False,
) -> None:
    """Draw images from a pulled model's prior."""
    import torch

    from vae.publishing.pictures import draw_samples, draw_separately
    from vae.registry.pulled_model import open_model

    loaded = open_model(model).model
    if not separate:
        write_bytes(out, draw_samples(loaded, n, seed, temperature))
        return
    drawn = loaded.sample(n, torch.Generator().manual_seed(seed), temperature=temperature)
    make_folder(out)
    for number, png in enumerate(draw_separately(drawn)):
        write_bytes(out / f"{number:05d}.png", png)


@app.command()
def reconstruct(model: Model, out: Out) -> None:
    """Show test images above their reconstructions."""
    from vae.publishing.pictures import draw_reconstructions
    from vae.registry.pulled_model import open_model

    pulled = open_model(model)
    write_bytes(out, draw_reconstructions(pulled.model, pulled.images))


@app.command()
def interpolate(model: Model, out: Out) -> None:
    """Walk from one test image to another in latent space."""
    from vae.publishing.pictures import draw_interpolation
    from vae.registry.pulled_model import open_model

    pulled = open_model(model)
    write_bytes(out, draw_interpolation(pulled.model, pulled.images, pulled.labels))


@app.command()
def latent(model: Model, out: Out) -> None:
    """Map test images by their posterior means."""
    from vae.publishing.pictures import draw_latents
    from vae.registry.pulled_model import open_model

    pulled = open_model(model)
    write_bytes(out, draw_latents(pulled.model, pulled.images, pulled.labels))
