"""Objects of an S3 store written to files: whole, or what a file lacks of one."""

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

from fsspec.asyn import sync
from s3fs.core import S3_RETRYABLE_ERRORS

from vae.store.progress import Progress
from vae.store.s3_errors import find_error_code

CHUNK_BYTES = 1 << 20
READ_ATTEMPTS = 3  # of an answer that breaks off in its body, which botocore does not repeat

log = logging.getLogger(__name__)
T = TypeVar("T")
Ask = Callable[..., Any]  # for one object, with more arguments of a GET; S3's answer


def fetch_whole(loop: asyncio.AbstractEventLoop, ask: Ask, name: str, file: BinaryIO) -> str:
    """Write an object to `file` and return its ETag.

    By a single GET: s3fs's own readers fetch large objects in ranges without If-Match, which mix
    two versions when the object is overwritten meanwhile.
    """

    def fetch() -> str:
        file.seek(0)
        file.truncate()
        response = ask()
        drain(loop, response, file, Progress("download", name, response["ContentLength"]))
        return str(response["ETag"])

    return persist(fetch, name)


def fetch_rest(loop: asyncio.AbstractEventLoop, ask: Ask, name: str, file: BinaryIO) -> None:
    """Append to `file` what it lacks of an object, also where its bytes are another's."""

    def fetch() -> None:
        begun_bytes = file.seek(0, os.SEEK_END)
        response = ask_from(ask, begun_bytes) if begun_bytes else ask()
        if response is None:
            return
        if begun_bytes and "ContentRange" not in response:  # a server that sends no parts
            file.truncate(0)
            begun_bytes = 0
        progress = Progress("download", name, begun_bytes + response["ContentLength"])
        if begun_bytes:
            progress.begin_at(begun_bytes)
        drain(loop, response, file, progress)

    persist(fetch, name)


def ask_from(ask: Ask, start: int) -> Any:
    """S3's answer from a byte on; None if the object ends before it."""
    try:
        return ask(Range=f"bytes={start}-")
    except OSError as error:
        if find_error_code(error) != "InvalidRange":
            raise
        return None


def persist(fetch: Callable[[], T], name: str) -> T:
    """What `fetch` gives, asked again where its answer breaks off."""
    for attempt in range(1, READ_ATTEMPTS + 1):
        try:
            return fetch()
        except S3_RETRYABLE_ERRORS as error:
            if attempt == READ_ATTEMPTS:
                raise
            log.warning("%s: reading again after %r", name, error)
    raise AssertionError


def drain(
    loop: asyncio.AbstractEventLoop, response: Any, file: BinaryIO, progress: Progress
) -> None:
    """Write an answer's body to a file."""

    async def copy() -> None:
        async with response["Body"] as body:
            async for chunk in body.iter_chunks(CHUNK_BYTES):
                file.write(chunk)
                progress.advance(len(chunk))

    sync(loop, copy)
