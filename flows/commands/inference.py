"""A pulled model on images of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Model
from flows.commands.writing import write_bytes, write_text

app = typer.Typer()
Images = Annotated[str, typer.Argument(help="A folder, pattern, table, .npy file or URL.")]


@app.command()
def encode(
    model: Model,
    images: Images,
    out: Annotated[Path, typer.Option(help="The .npz file to write: mu, logvar, names.")],
) -> None:
    """Write the posteriors of images: their means and log-variances."""
    from vae.inference import latents
    from vae.inference.images import read_data_settings, read_images
    from vae.registry.pulled_model import open_pulled

    loaded, manifest = open_pulled(model)
    data = read_data_settings(manifest)
    write_bytes(out, latents.encode(loaded, read_images(images, loaded, data), data))


@app.command()
def decode(
    model: Model,
    latents: Annotated[Path, typer.Argument(help="What encode wrote, or a .npy of latents.")],
    out: Annotated[Path, typer.Option(help="The .npy file to write: uint8 [N, C, H, W].")],
) -> None:
    """Write the pictures that latents stand for."""
    import io

    import numpy as np

    from vae.inference import latents as decoding
    from vae.registry.pulled_model import open_pulled

    loaded, _ = open_pulled(model)
    buffer = io.BytesIO()
    np.save(buffer, decoding.decode(loaded, latents))
    write_bytes(out, buffer.getvalue())


@app.command()
def score(
    model: Model,
    images: Images,
    out: Annotated[Path, typer.Option(help="The CSV to write, a row an image.")],
    samples: Annotated[int, typer.Option(min=1, help="Posterior samples per image, K.")] = 100,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1)] = 0,
) -> None:
    """Write how unlikely each image is under the model: an anomaly score."""
    from vae.inference.images import read_data_settings, read_images
    from vae.inference.scores import score as score_images
    from vae.registry.pulled_model import open_pulled

    loaded, manifest = open_pulled(model)
    data = read_data_settings(manifest)
    batches = read_images(images, loaded, data)
    write_text(out, score_images(loaded, batches, data, samples, seed))


@app.command()
def export(
    model: Model,
    to: Annotated[Path, typer.Option(help="The folder to make.")],
    form: Annotated[str, typer.Option("--format", help="torch, onnx or hf.")] = "torch",
) -> None:
    """Write a model for programs without this package: torch.export, ONNX or Hugging Face."""
    from vae.export.folder import export_model

    typer.echo(f"{to}: {', '.join(export_model(model, to, form))}")
