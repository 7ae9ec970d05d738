"""A pulled model as a folder in another form: whole, or not there."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from vae.errors import UserError
from vae.export.onnx import save_onnx
from vae.export.programs import export_programs, save_programs
from vae.files import reserve_beside
from vae.models.saved_model import load_model
from vae.publishing.card import CARD
from vae.registry.manifest import verify

FORMATS = ("torch", "onnx", "hf")


def export_model(directory: Path, to: Path, form: str) -> list[str]:
    """Write a pulled model into the new folder `to`, as one of FORMATS; what it holds.

    Raises UserError for a form that isn't one, a folder that is there, or a directory that is not
    as it was published.
    """
    if form not in FORMATS:
        raise UserError(f"format is '{form}', must be one of {', '.join(FORMATS)}")
    if to.exists():
        raise UserError(f"{to} is there, give a new folder")
    write = {"torch": write_programs, "onnx": write_onnx, "hf": write_hugging_face}[form]
    verify(directory)
    return write_folder(to, lambda folder: write(directory, folder))


def write_folder(to: Path, write: Callable[[Path], list[str]]) -> list[str]:
    """Have `write` fill a folder beside `to`, which then gets that name."""
    with reserve_beside(to) as unfinished:
        try:
            unfinished.mkdir(parents=True)
            written = write(unfinished)
            os.rename(unfinished, to)
        except OSError as error:
            raise UserError(f"{to} cannot be written: {error.strerror}") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return written


def write_programs(directory: Path, folder: Path) -> list[str]:
    """encoder.pt2, decoder.pt2 and sampler.pt2."""
    return save_programs(export_programs(load_model(directory)), folder)


def write_onnx(directory: Path, folder: Path) -> list[str]:
    """encoder.onnx and decoder.onnx."""
    return save_onnx(load_model(directory), folder)


def write_hugging_face(directory: Path, folder: Path) -> list[str]:
    """What a Hugging Face repository holds: weights, config, metrics, pictures, the card as README.

    Raises UserError for a version that was published without a card.
    """
    manifest = verify(directory)
    if CARD not in manifest.files:
        raise UserError(f"{directory} was published by version 0.1, which wrote no model card")
    for name in manifest.files:
        if name not in (CARD, "report.html"):
            shutil.copyfile(directory / name, folder / name)
    shutil.copyfile(directory / CARD, folder / "README.md")
    return sorted(path.name for path in folder.iterdir())
