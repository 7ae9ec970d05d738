"""Whether a store keeps its promises: asked once, and remembered in the store itself.

Some S3 servers take If-None-Match and If-Match without a word and write all the same. On such a one
two runs can publish one version, and a worse model can replace the best: it is refused. What is
remembered names the store, for it is copied with everything else to servers that were never asked.
"""

import json
import uuid
from contextlib import suppress

from vae.errors import UserError
from vae.store.promises import Conflict, Store

KEPT = "promises.json"  # there once the store was seen to keep them
PROBE = "promises-probe"  # with an id behind it: two may probe at once


def check_promises(store: Store) -> None:
    """Raise UserError unless `create` and `replace` refuse what they promise to refuse.

    Writes and removes an object, unless the store is known to keep its promises.
    """
    passed = describe_pass(store)
    with suppress(FileNotFoundError):
        if store.read(KEPT) == passed:
            return
    probe = f"{PROBE}-{uuid.uuid4().hex}"
    try:
        broken = find_broken_promise(store, probe)
    finally:
        store.delete(probe)
    if broken:
        raise UserError(
            f"store {store.uri} ignores {broken}: models can't be published to it safely, take an "
            "S3 server with conditional writes (AWS S3, SeaweedFS, MinIO from 2024-11 on), or a "
            "folder"
        )
    store.put(KEPT, passed)


def describe_pass(store: Store) -> bytes:
    """What is kept in a store that was seen to keep its promises, of it alone."""
    kept = {"create": "once", "replace": "if unchanged", "at": store.address}
    return f"{json.dumps(kept)}\n".encode()


def find_broken_promise(store: Store, key: str) -> str:
    """What the store ignores, seen by writing `key`; empty if it keeps its promises."""
    store.put(key, b"first")
    try:
        store.create(key, b"second")
    except FileExistsError:
        pass
    else:
        return "If-None-Match (a second create overwrote the first)"
    _, token = store.read_token(key)
    store.put(key, b"third")
    try:
        store.replace(key, b"fourth", token)
    except Conflict:
        return ""
    return "If-Match (a stale replace succeeded)"
