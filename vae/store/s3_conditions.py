"""Writing to S3 on a condition, by one request or by the last one of an upload in parts."""

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from vae.errors import UserError
from vae.store.s3_errors import find_error_code

ONE_REQUEST_BYTES = 5 << 30  # the most that one PUT takes
BUSY_WAITS_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
PRECONDITION_FAILED = {"PreconditionFailed", "412"}
BUSY = {"ConditionalRequestConflict", "OperationAborted"}
NONE_THERE = {"IfNoneMatch": "*"}
ANYWAY: Mapping[str, str] = {}

Call = Callable[..., Any]  # one request: its name, and its arguments
Signature = dict[str, str]


def send_once(send: Callable[[], object], is_ours: Callable[[], bool]) -> bool:
    """Let `send` write an object on its condition; whether it held. Raises FileNotFoundError.

    A request whose answer was lost is sent again and then fails on its own first success: where the
    condition does not hold, `is_ours` says whether that is why.
    """
    for wait_s in (*BUSY_WAITS_S, None):
        try:
            send()
        except OSError as error:
            code = find_error_code(error)
            if code in PRECONDITION_FAILED:
                return is_ours()
            # Two conditional writes met inside the server: neither is decided, ask again.
            if code not in BUSY or wait_s is None:
                raise
            time.sleep(wait_s)
        else:
            break
    return True


def sign() -> Signature:
    """What tells an object from one of another writer, whose bytes may be equal."""
    return {"writer": uuid.uuid4().hex}


def is_signed(call: Call, key: str, signature: Signature) -> bool:
    """Whether an object is the one that was written with this signature."""
    try:
        head = call("head_object", Key=key)
    except FileNotFoundError:
        return False
    return bool(head["Metadata"].get("writer") == signature["writer"])


def heeds_conditions(call: Call, probe: str) -> bool:
    """Whether the server refuses to complete an upload over an object, seen by writing `probe`.

    Servers that don't know the condition there write all the same.
    """
    call("put_object", Key=probe, Body=b"first")
    upload = {"Key": probe, "UploadId": call("create_multipart_upload", Key=probe)["UploadId"]}
    sent = call("upload_part", **upload, PartNumber=1, Body=b"second")
    parts = {"Parts": [{"PartNumber": 1, "ETag": sent["ETag"]}]}
    try:
        call("complete_multipart_upload", **upload, MultipartUpload=parts, **NONE_THERE)
    except OSError as error:
        if find_error_code(error) not in PRECONDITION_FAILED:
            raise
        call("abort_multipart_upload", **upload)
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
