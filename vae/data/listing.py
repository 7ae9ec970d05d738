"""What lies in a folder or a prefix, from its listing alone: no file is opened."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from vae.data.places import LocalFolder
from vae.errors import UserError
from vae.files import hash_bytes
from vae.store.open import open_store

S3 = "s3://"


@dataclass(frozen=True, kw_only=True)
class Listing:
    """How many files there are, their bytes in all, and a digest of names, sizes and times.

    The digest changes with every file that comes, goes or is written, also to the same content.
    """

    location: str  # an absolute path or s3://bucket/prefix
    digest: str
    files: int
    size_bytes: int

    @property
    def name(self) -> str:
        """What the data is called: the last part of where it is, as the name of its dataset."""
        return re.sub(r"[^a-z0-9]+", "-", Path(self.location).stem.lower()).strip("-") or "local"


def list_data(location: str) -> Listing:
    """The listing of a folder, a file or an s3:// prefix; raises UserError if it can't be read.

    Names that start with a dot, and what is below them, are left out, and links are followed, as
    where a dataset is read.
    """
    if location.startswith(S3):
        store = open_store(location)
        with store.explain_errors():
            entries = [(e.key, e.size_bytes, e.modified_s) for e in store.list_details()]
        where = store.uri
    else:
        where = os.path.abspath(location)
        entries = list_local(Path(where))
    seen = sorted(entry for entry in entries if not is_hidden(entry[0]))
    return Listing(
        location=where,
        digest=hash_bytes(json.dumps(seen).encode()),
        files=len(seen),
        size_bytes=sum(size_bytes for _, size_bytes, _ in seen),
    )


def list_local(path: Path) -> list[tuple[str, int, float]]:
    """Name, size in bytes and time of change of a file, or of every file below a folder."""
    if not path.exists():
        raise UserError(f"{path}: no such folder or file")
    files = [path]
    if path.is_dir():
        files = [path / name for name in LocalFolder(path).list().files]
    try:
        stats = [(file.relative_to(path.parent).as_posix(), file.stat()) for file in files]
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from error
    return [(name, stat.st_size, stat.st_mtime) for name, stat in stats]


def is_hidden(name: str) -> bool:
    """Whether any part of a relative name starts with a dot; an empty folder's ends in a slash."""
    return name.endswith("/") or any(part.startswith(".") for part in name.split("/"))
