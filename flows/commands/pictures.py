"""Pictures of a pulled model."""

from typing import Annotated

import typer

from flows.commands.options import Model, Out
from flows.commands.writing import write_bytes

app = typer.Typer()


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

    write_bytes(out, draw_samples(open_model(model).model, n, seed))


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
