"""Options and arguments that several subcommands share."""

from pathlib import Path
from typing import Annotated

import typer

from vae.errors import UserError

StoreUri = Annotated[
    str, typer.Option(envvar="VAE_STORE", help="A folder, file:///path or s3://bucket/prefix.")
]
Out = Annotated[Path, typer.Option(help="The PNG to write.")]
Model = Annotated[Path, typer.Argument(metavar="DIR", help="A pulled model.")]
Named = Annotated[
    str,
    typer.Argument(
        metavar="NAME[@VERSION]",
        help="The best by default; @latest, an alias, or the beginning of a version.",
    ),
]
Why = Annotated[str, typer.Option(help="For the history.")]


def split_named(model: str) -> tuple[str, str]:
    """The model's name, and the version that is meant. Raises UserError."""
    name, at, version = model.partition("@")
    if at and not version:
        raise UserError(f"model is '{model}', must be NAME or NAME@VERSION")
    return name, version or "best"


def split_exactly(model: str) -> tuple[str, str]:
    """The same where the version has to be named."""
    if "@" not in model:
        raise UserError(f"model is '{model}', must be NAME@VERSION")
    return split_named(model)
