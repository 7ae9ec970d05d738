"""Files that go to S3 in parts: what an earlier attempt has sent is not sent again.

S3 keeps the parts of an upload until it is completed or aborted. An attempt looks for an upload of
its key whose parts are its own, by their MD5, and goes on with it. Several may be at work on one:
the first completes it, for all of them.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from vae.errors import RefusedError
from vae.store.progress import Progress
from vae.store.promises import STALE_AFTER_S
from vae.store.s3_conditions import ANYWAY, NONE_THERE, PRECONDITION_FAILED, Call, send_once
from vae.store.s3_errors import find_error_code

PART_BYTES = 64 << 20  # what is held of a file; a file of no more is written by one request
MOST_PARTS = 10_000
ENDED = {"NoSuchUpload", "InvalidPart"}  # an upload at which somebody else was at work
UNKNOWN = {"NotImplemented", "MethodNotAllowed"}  # to servers that can't list uploads

log = logging.getLogger(__name__)
Listed = Mapping[str, Any]  # an upload or a part, as S3 lists it


@dataclass(frozen=True)
class PartedFile:
    """A file in as many parts as S3 takes, numbered from 1."""

    path: Path
    size_bytes: int
    part_bytes: int

    @classmethod
    def cut(cls, path: Path, part_bytes: int) -> "PartedFile":
        """Cut a file into parts of so many bytes, or more where they would be too many."""
        size_bytes = path.stat().st_size
        return cls(path, size_bytes, max(part_bytes, -(-size_bytes // MOST_PARTS)))

    @property
    def numbers(self) -> range:
        """Of all parts."""
        return range(1, -(-self.size_bytes // self.part_bytes) + 1)

    def measure(self, number: int) -> int:
        """The size of a part."""
        return min(self.part_bytes, self.size_bytes - (number - 1) * self.part_bytes)

    def read(self, number: int) -> bytes:
        """The bytes of a part."""
        with self.path.open("rb") as file:
            file.seek((number - 1) * self.part_bytes)
            return file.read(self.part_bytes)

    def hash(self, number: int) -> str:
        """The MD5 of a part, by which S3 knows it; it guards against no attack."""
        return hashlib.md5(self.read(number), usedforsecurity=False).hexdigest()

    def hash_parts(self) -> list[str]:
        """That of every part."""
        return [self.hash(number) for number in self.numbers]

    def holds(self, part: Listed) -> bool:
        """Whether a part in S3 is this file's; never under SSE-KMS, where an ETag is no MD5."""
        number = part["PartNumber"]
        if number not in self.numbers or part["Size"] != self.measure(number):
            return False
        return read_etag(part) == self.hash(number)


@dataclass(frozen=True)
class Upload:
    """An upload that is not completed: its id, and the ETags of the parts that S3 has."""

    upload_id: str
    sent: Mapping[int, str] = field(default_factory=dict)


def create_in_parts(call: Call, key: str, file: PartedFile) -> bool:
    """Write an object from a file if there is none yet; whether it is this file now."""
    return send_once(
        lambda: send_file(call, key, file, NONE_THERE), lambda: is_there(call, key, file)
    )


def send_file(
    call: Call, key: str, file: PartedFile, condition: Mapping[str, str] = ANYWAY
) -> None:
    """Write an object from a file; the condition is that of the last request.

    What fails leaves its parts to be gone on with, unless the condition is what failed.
    """
    upload = find_upload(call, key, file)
    while upload is None or not finish(call, key, file, upload, condition):
        if upload:
            log.warning("%s: another writer has ended this upload, which begins anew", key)
        upload = Upload(call("create_multipart_upload", Key=key)["UploadId"])


def finish(
    call: Call, key: str, file: PartedFile, upload: Upload, condition: Mapping[str, str]
) -> bool:
    """Send what is missing and complete an upload; whether the object is this file then.

    It is not where somebody else has ended the upload meanwhile.
    """
    named = {"Key": key, "UploadId": upload.upload_id}
    try:
        sent = send_missing(call, named, file, upload.sent)
        parts = {"Parts": [{"PartNumber": number, "ETag": sent[number]} for number in file.numbers]}
        done = call("complete_multipart_upload", **named, MultipartUpload=parts, **condition)
    except OSError as error:
        code = find_error_code(error)
        if code in PRECONDITION_FAILED:
            with suppress(OSError):  # the error that matters is the one on its way up
                call("abort_multipart_upload", **named)
        if code not in ENDED:
            raise
        return is_there(call, key, file)
    return is_whole(file, sent, read_etag(done))


def is_whole(file: PartedFile, sent: Mapping[int, str], etag: str) -> bool:
    """Whether a completed upload with this ETag consists of what was sent.

    Some servers say so of an upload that another writer has completed, with other parts; one can
    have gone on with it only where ETags are MD5.
    """
    etags = [sent[number] for number in file.numbers]
    return etag == join_etags(etags) or etags != file.hash_parts()


def send_missing(
    call: Call, named: Mapping[str, str], file: PartedFile, there: Mapping[int, str]
) -> dict[int, str]:
    """Send the parts that S3 does not have; the ETags of all of them."""
    sent, progress = dict(there), Progress("upload", named["Key"], file.size_bytes)
    if there:
        progress.begin_at(sum(file.measure(number) for number in there))
    for number in file.numbers:
        if number not in sent:
            body = file.read(number)
            part = call("upload_part", **named, PartNumber=number, Body=body)
            sent[number] = part["ETag"].strip('"')
            progress.advance(len(body))
    return sent


def find_upload(call: Call, key: str, file: PartedFile) -> Upload | None:
    """The newest upload of a key whose parts, of which there are some, all are this file's."""
    try:
        found = [upload for upload in list_uploads(call, key) if upload["Key"] == key]
        for upload in sorted(found, key=lambda one: one["Initiated"], reverse=True):
            parts = list_parts(call, {"Key": key, "UploadId": upload["UploadId"]})
            if parts and all(file.holds(part) for part in parts):
                sent = {part["PartNumber"]: read_etag(part) for part in parts}
                return Upload(upload["UploadId"], sent)
    except RefusedError as error:
        log.warning("an upload of %s begins anew, unfinished ones can't be seen: %s", key, error)
    except OSError as error:
        if find_error_code(error) not in UNKNOWN:
            raise
    return None


def is_there(call: Call, key: str, file: PartedFile) -> bool:
    """Whether the object is this file, as an upload of its parts makes it."""
    try:
        head = call("head_object", Key=key)
    except FileNotFoundError:
        return False
    return read_etag(head) == join_etags(file.hash_parts())


def sweep_uploads(call: Call, prefix: str, stale_s: float = STALE_AFTER_S) -> None:
    """Abort the uploads of keys that begin so, to which no part came for so long.

    By the server's clock, and where the server and its policy let them be seen.
    """
    try:
        for upload in list(list_uploads(call, prefix)):
            named = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
            times = [part["LastModified"] for part in list_parts(call, named)]
            quiet = upload["Now"] - max([upload["Initiated"], *times])
            if quiet.total_seconds() >= stale_s:
                with suppress(FileNotFoundError):  # completed just now
                    call("abort_multipart_upload", **named)
    except (RefusedError, OSError) as error:
        log.info("unfinished uploads are left to the rules of the bucket: %s", error)


def list_uploads(call: Call, prefix: str) -> Iterator[dict[str, Any]]:
    """The uploads of keys that begin so; each with `Now`, when it was listed."""
    more: dict[str, str] = {}
    while True:
        page = call("list_multipart_uploads", Prefix=prefix, **more)
        now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
        for upload in page.get("Uploads", []):
            yield upload | {"Now": now}
        if not page["IsTruncated"]:
            return
        more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


def list_parts(call: Call, named: Mapping[str, str]) -> list[Listed]:
    """The parts that S3 has of an upload; none of one that was ended meanwhile."""
    parts: list[Listed] = []
    more: dict[str, int] = {}
    with suppress(FileNotFoundError):
        while True:
            page = call("list_parts", **named, **more)
            parts += page.get("Parts", [])
            if not page["IsTruncated"]:
                return parts
            more = {"PartNumberMarker": page["NextPartNumberMarker"]}
    return []


def read_etag(answer: Listed) -> str:
    """The ETag in an answer, without its quotes."""
    etag: str = answer["ETag"]
    return etag.strip('"')


def join_etags(parts: Sequence[str]) -> str:
    """The ETag of an object whose parts have these, if those are MD5; else nothing."""
    with suppress(ValueError):
        joined = bytes.fromhex("".join(parts))
        return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(parts)}"
    return ""
