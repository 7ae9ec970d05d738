"""What a run writes in the store as JSON: each record with the digest of its own content.

A flipped bit in a number is still JSON, and would publish another epoch as the best; the digest
tells it from what was written.
"""

import json
from typing import Any

from vae.errors import UserError
from vae.files import hash_bytes
from vae.store.promises import Store

DIGEST = "sha256"
Result = dict[str, Any]


class DamagedRecordError(UserError):
    """A record in the store is not what was written; one line that says what to do."""


def create_record(store: Store, key: str, content: Result, remedy: str) -> Result:
    """Write a record once; return what is in the store, ours or whoever's was first."""
    try:
        store.create(key, encode(content))
    except FileExistsError:
        return read_record(store, key, remedy) or content
    return content


def replace_record(store: Store, key: str, content: Result, token: str) -> None:
    """Overwrite the record that `Store.read_token` named; raises Conflict if it has changed."""
    store.replace(key, encode(content), token)


def encode(content: Result) -> bytes:
    """A record as it is stored, with the digest of its content."""
    signed = content | {DIGEST: hash_content(content)}
    return (json.dumps(signed, indent=2) + "\n").encode()


def read_record(store: Store, key: str, remedy: str) -> Result | None:
    """A record's content, or None if there is none.

    Raises DamagedRecordError for anything else than what was written; `remedy` says what to do.
    """
    try:
        data = store.read(key)
    except FileNotFoundError:
        return None
    return parse_record(data, f"{store.uri}/{key}", remedy)


def parse_record(data: bytes, where: str, remedy: str) -> Result:
    """The content of a record that was read at `where`. Raises DamagedRecordError."""
    try:
        content: Result = json.loads(data)
        written = content.pop(DIGEST)
        found = hash_content(content)
    except KeyError:
        raise DamagedRecordError(f"{where} is damaged, or of version 0.1: {remedy}") from None
    except (ValueError, RecursionError, AttributeError, TypeError):
        raise DamagedRecordError(f"{where} is damaged, no record: {remedy}") from None
    if found != written:
        raise DamagedRecordError(
            f"{where} is damaged, its sha256 is {found}, not {written}: {remedy}"
        )
    return content


def hash_content(content: Result) -> str:
    """The digest of a record's content, however the file spaces and orders it."""
    return hash_bytes(json.dumps(content, sort_keys=True).encode())
