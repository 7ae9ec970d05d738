"""Writing to S3: on a condition, and files of any size in parts."""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from vae.errors import UserError
from vae.store.s3_errors import find_error_code

PART_BYTES = 64 << 20  # what is held of a file; a file of no more is written by one request
MOST_PARTS = 10_000
ONE_REQUEST_BYTES = 5 << 30  # the most that one PUT takes
BUSY_WAITS_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
PRECONDITION_FAILED = {"PreconditionFailed", "412"}
BUSY = {"ConditionalRequestConflict", "OperationAborted"}
NONE_THERE = {"IfNoneMatch": "*"}
ANYWAY: Mapping[str, str] = {}

Call = Callable[..., Any]  # one request: its name, and its arguments
Signature = dict[str, str]


def send_once(call: Call, key: str, send: Callable[[Signature], None]) -> bool:
    """Let `send` write an object on its condition; whether it held. Raises FileNotFoundError.

    A request whose answer was lost is sent again and then fails on its own first success, so each
    call signs its object: equal bytes alone may be another writer's.
    """
    signature = {"writer": uuid.uuid4().hex}
    for wait_s in (*BUSY_WAITS_S, None):
        try:
            send(signature)
        except OSError as error:
            code = find_error_code(error)
            if code in PRECONDITION_FAILED:
                return is_signed(call, key, signature)
            # Two conditional writes met inside the server: neither is decided, ask again.
            if code not in BUSY or wait_s is None:
                raise
            time.sleep(wait_s)
        else:
            break
    return True


def is_signed(call: Call, key: str, signature: Signature) -> bool:
    """Whether an object is the one that was written with this signature."""
    try:
        head = call("head_object", Key=key)
    except FileNotFoundError:
        return False
    return bool(head["Metadata"].get("writer") == signature["writer"])


def send_parts(
    call: Call,
    key: str,
    parts: Iterable[bytes],
    signature: Signature | None = None,
    condition: Mapping[str, str] = ANYWAY,
) -> None:
    """Write an object part by part; the condition is that of the last request.

    What fails leaves no parts, unless the process is killed.
    """
    begun = call("create_multipart_upload", Key=key, Metadata=signature or {})
    upload = {"Key": key, "UploadId": begun["UploadId"]}
    try:
        sent = [
            {
                "PartNumber": number,
                "ETag": call("upload_part", **upload, PartNumber=number, Body=part)["ETag"],
            }
            for number, part in enumerate(parts, 1)
        ]
        call("complete_multipart_upload", **upload, MultipartUpload={"Parts": sent}, **condition)
    except BaseException:
        with suppress(OSError):  # the error that matters is the one on its way up
            call("abort_multipart_upload", **upload)
        raise


def read_parts(path: Path) -> Iterator[bytes]:
    """The content of a file, in as many parts as S3 takes."""
    part_bytes = max(PART_BYTES, -(-path.stat().st_size // MOST_PARTS))
    with path.open("rb") as file:
        while part := file.read(part_bytes):
            yield part


def heeds_conditions(call: Call, probe: str) -> bool:
    """Whether the server refuses to complete an upload over an object, seen by writing `probe`.

    Servers that don't know the condition there write all the same.
    """
    call("put_object", Key=probe, Body=b"first")
    try:
        send_parts(call, probe, [b"second"], condition=NONE_THERE)
    except OSError as error:
        if find_error_code(error) not in PRECONDITION_FAILED:
            raise
        return True
    finally:
        call("delete_objects", Delete={"Objects": [{"Key": probe}], "Quiet": True})
    return False


def check_one_request(size_bytes: int, where: str) -> None:
    """Raise UserError for more than one PUT takes."""
    if size_bytes > ONE_REQUEST_BYTES:
        raise UserError(
            f"{where}: {size_bytes} bytes, must be {ONE_REQUEST_BYTES} at most: this server "
            "ignores If-None-Match in CompleteMultipartUpload, so more can't be written just once"
        )
