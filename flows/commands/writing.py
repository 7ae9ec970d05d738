"""Files that commands write: whole, or not at all."""

from pathlib import Path

from vae.errors import UserError
from vae.files import write_whole


def write_text(path: Path, text: str) -> None:
    """Write a text file whole. Raises UserError."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole. Raises UserError."""
    if not path.name:  # of "." and "/"
        raise UserError(f"{path} cannot be written: it is a folder")
    try:
        write_whole(path, data)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error


def make_folder(path: Path) -> None:
    """Make a folder, if it isn't there. Raises UserError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be made: {error.strerror}") from error
