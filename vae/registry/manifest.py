"""What a published version consists of, and whether the files at hand are those."""

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeGuard

from safetensors import SafetensorError, safe_open

from vae.errors import UserError
from vae.files import PLAIN_NAME, hash_bytes, hash_file

MANIFEST = "manifest.json"
MODEL = "model.safetensors"
METRICS = "metrics.json"
REQUIRED = (MODEL, "config.json", METRICS)
SUFFIXES = (".safetensors", ".json", ".png", ".html", ".md")  # nothing that is unpickled or run
SHA256 = re.compile(r"[0-9a-f]{64}")


class IntegrityError(UserError):
    """A published file is not what was published; one line with what was expected and found."""


class NoVersionError(UserError):
    """There is no such version, or no longer: somebody may delete it at any time."""


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """One published file: its size in bytes and its SHA-256."""

    size: int
    sha256: str

    @classmethod
    def from_file(cls, path: Path) -> "FileRecord":
        """Read the record of a file."""
        return cls(size=path.stat().st_size, sha256=hash_file(path))

    @classmethod
    def from_bytes(cls, data: bytes) -> "FileRecord":
        """Make the record of some bytes."""
        return cls(size=len(data), sha256=hash_bytes(data))


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `manifest.json` of a version says: its files by name, and where they come from."""

    name: str
    version: str
    run_id: str
    dataset: str
    experiment: dict[str, Any]
    recipe: str  # digest of all that decides the model; "" if a clock did, or before 0.2
    lineage: dict[str, str]  # {"from": NAME@VERSION, "manifest_sha256"} of the first weights, or {}
    cut: str  # which time budget cut the run short, in one line, or ""
    packages: dict[str, str]
    made: dict[str, Any]  # on what machine, of what revision; {} in versions before 0.2
    files: dict[str, FileRecord]

    @property
    def notes(self) -> tuple[str, ...]:
        """Whose weights it began with, and what cut it short, where there is something to say."""
        began = f"from {self.lineage['from']}" if self.lineage else ""
        return tuple(filter(None, (began, self.cut)))

    def to_bytes(self) -> bytes:
        text = json.dumps(asdict(self), indent=2, sort_keys=True, allow_nan=False)
        return f"{text}\n".encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> "Manifest":
        """Parse and check a manifest read at `where`; raises IntegrityError."""
        fields = {"recipe": "", "lineage": {}, "cut": "", "made": {}} | parse_object(data, where)
        if fields.keys() != cls.__dataclass_fields__.keys():
            expected = ", ".join(cls.__dataclass_fields__)
            raise IntegrityError(f"{where} has the fields {sorted(fields)}, expected {expected}")
        texts = ("name", "version", "run_id", "dataset", "recipe", "cut")
        objects = ("experiment", "packages", "made", "files", "lineage")
        if not all(isinstance(fields[key], str) for key in texts) or not all(
            isinstance(fields[key], dict) for key in objects
        ):
            raise IntegrityError(f"{where} has a field of the wrong type")
        _check_lineage(fields["lineage"], where)
        files = {name: _parse_record(name, entry, where) for name, entry in fields["files"].items()}
        check_names(files, where)
        return cls(**(fields | {"files": files}))


def check_names(files: Iterable[str], where: str) -> None:
    """Raise IntegrityError unless `files` are the plain files that a version may consist of."""
    names = list(files)
    for name in names:
        if not PLAIN_NAME.fullmatch(name) or name == MANIFEST:
            raise IntegrityError(f"{where} lists {name!r}, which is not a plain file name")
        if not name.endswith(SUFFIXES):
            raise IntegrityError(f"{where} lists {name!r}, allowed are {', '.join(SUFFIXES)}")
    if len({name.casefold() for name in names}) < len(names):
        raise IntegrityError(f"{where} lists a name twice, in upper and in lower case")
    for name in REQUIRED:
        if name not in names:
            raise IntegrityError(f"{where} lists no {name}")


def verify(directory: Path) -> Manifest:
    """Check a pulled version against its manifest, before anything in it is loaded.

    Files that the manifest does not list are left alone. Raises UserError if `directory` holds no
    manifest or can't be read, IntegrityError for a file that is missing, changed or not what its
    name says.
    """
    try:
        path = directory / MANIFEST
        if not path.is_file():
            raise UserError(f"{directory} is not a pulled model: it holds no {MANIFEST}")
        manifest = Manifest.from_bytes(path.read_bytes(), str(path))
        for name, record in manifest.files.items():
            check_file(directory / name, record, str(directory / name))
    except OSError as error:
        where = error.filename or directory
        raise UserError(f"{where} cannot be read: {error.strerror}") from error
    return manifest


def check_file(path: Path, record: FileRecord, where: str) -> None:
    """Raise IntegrityError unless the file is the recorded one and what its name says."""
    if path.is_symlink() or not path.is_file():
        raise IntegrityError(f"{where} is missing or not a plain file")
    check_record(FileRecord.from_file(path), record, where)
    check_safetensors(path, where)
    if path.name in REQUIRED and path.suffix == ".json":
        parse_object(path.read_bytes(), where)


def check_record(found: FileRecord, record: FileRecord, where: str) -> None:
    """Raise IntegrityError unless what was found at `where` is what was recorded."""
    if found != record:
        raise IntegrityError(
            f"{where} was changed: expected {record.size} bytes with sha256 {record.sha256}, "
            f"found {found.size} bytes with sha256 {found.sha256}"
        )


def check_safetensors(path: Path, where: str) -> None:
    """Raise IntegrityError if the file is named .safetensors and is something else."""
    if path.suffix != ".safetensors":
        return
    try:
        with safe_open(path, framework="np"):
            pass
    except SafetensorError as error:
        raise IntegrityError(f"{where} is not a safetensors file: {error}") from error


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    """Parse a JSON object without duplicate keys or NaN; raises IntegrityError."""
    try:
        value = json.loads(
            data, object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{where} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise IntegrityError(f"{where} is not a JSON object")
    return value


def is_number(value: object) -> TypeGuard[float]:
    """Say whether a parsed JSON value is a finite number (a bool is not)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # An int may be too large to convert, and NaN compares false.
    return abs(value) <= sys.float_info.max


def _parse_record(name: str, entry: object, where: str) -> FileRecord:
    match entry:
        case {"size": int(size), "sha256": str(digest), **rest} if not rest:
            if size >= 0 and not isinstance(size, bool) and SHA256.fullmatch(digest):
                return FileRecord(size=size, sha256=digest)
    raise IntegrityError(f"{where} has no valid size and sha256 for {name!r}")


def _check_lineage(lineage: dict[str, Any], where: str) -> None:
    match lineage:
        case {"from": str(named), "manifest_sha256": str(digest), **rest} if not rest:
            names = named.split("@")
            plain = len(names) == 2 and all(map(PLAIN_NAME.fullmatch, names))
            if plain and SHA256.fullmatch(digest):
                return
        case {**rest} if not rest:
            return
    raise IntegrityError(f"{where} names no valid version that its training began with")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key appears twice")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
