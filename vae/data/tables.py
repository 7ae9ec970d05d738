"""A table of images: a CSV or TSV file with a path, and perhaps a class and a split, per row."""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

from vae.errors import UserError, extract_message

COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "img"),
    "label": ("label", "class", "category", "class_name", "label_name", "target"),
    "split": ("split", "subset", "partition"),
}
SPLITS = {  # as tables and folders name them, in small letters
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


class Row(NamedTuple):
    """One image of a table, its split train, val or test; what is not given is empty."""

    path: str
    label: str
    split: str


def read_table(data: bytes, where: str) -> list[Row]:
    """The rows of a table in UTF-8, separated by commas, semicolons or tabs. Raises UserError.

    A first row with the name of a column is a heading; without one, the columns are path, class
    and split.
    """
    try:
        text = data.decode("utf-8-sig")
        head = text.partition("\n")[0]
        separator = max(",;\t", key=head.count)
        lines = list(csv.reader(io.StringIO(text), delimiter=separator, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{where}: not a table in UTF-8: {extract_message(error)}") from error
    columns = _find_columns(lines[0]) if lines else {}
    start = 1 if columns else 0
    if columns and "path" not in columns:
        raise UserError(
            f"{where}: no column of paths among {', '.join(lines[0])}, "
            f"must be named one of {', '.join(COLUMNS['path'])}"
        )
    columns = columns or {name: place for place, name in enumerate(COLUMNS)}
    rows = [
        _read_row(line, columns, f"{where}: row {number}")
        for number, line in enumerate(lines[start:], start + 1)
        if any(cell.strip() for cell in line)
    ]
    if not rows:
        raise UserError(f"{where}: no rows, must be at least a path in each")
    return rows


def _find_columns(heading: Sequence[str]) -> dict[str, int]:
    """Which column is what, if a row is a heading."""
    cells = [cell.strip().lower() for cell in heading]
    return {
        column: next(place for place, cell in enumerate(cells) if cell in names)
        for column, names in COLUMNS.items()
        if any(cell in names for cell in cells)
    }


def _read_row(cells: Sequence[str], columns: dict[str, int], where: str) -> Row:
    path, label, split = (
        cells[columns[column]].strip() if columns.get(column, len(cells)) < len(cells) else ""
        for column in COLUMNS
    )
    if not path:
        raise UserError(f"{where}: no path")
    if split and split.lower() not in SPLITS:
        raise UserError(f"{where}: split {split!r}, must be one of {', '.join(SPLITS)}, or empty")
    return Row(path, label, SPLITS.get(split.lower(), ""))
