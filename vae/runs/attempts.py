"""How often a run was begun or continued: each time is an object in the store."""

import json
import socket
from datetime import UTC, datetime

from vae.runs.run import Run


def begin_attempt(run: Run) -> int:
    """Count one more attempt at a run, from 1 on; two that begin at once have two numbers."""
    prefix = f"{run.prefix}/attempts"
    number = len(run.store.list(prefix)) + 1
    since = datetime.now(UTC).isoformat(timespec="seconds")
    content = json.dumps({"since": since, "host": socket.gethostname()}).encode() + b"\n"
    while True:
        try:
            run.store.create(f"{prefix}/{number:04d}.json", content)
        except FileExistsError:
            number += 1
        else:
            return number
