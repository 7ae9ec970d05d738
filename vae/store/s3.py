"""The store on S3, through s3fs: one PUT or a completed multipart upload, If-None-Match, If-Match.

Configured by the `AWS_*` environment variables alone. A writer that fails in the middle of a
multipart upload leaves its parts, for the next one to go on with.
"""

import errno
import io
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial as bind
from pathlib import Path
from typing import Any

import s3fs
from botocore.exceptions import BotoCoreError

from vae.errors import RefusedError, UserError
from vae.files import TEMPORARY
from vae.store.folders import reserve_in_folder
from vae.store.promises import Conflict, Entry, check_key
from vae.store.s3_conditions import check_one_request, heeds_conditions, is_signed, send_once, sign
from vae.store.s3_downloads import Ask, fetch_rest, fetch_whole
from vae.store.s3_errors import ACTIONS, check_endpoint, is_refusal, suggest_remedy
from vae.store.s3_uploads import PART_BYTES, PartedFile, create_in_parts, send_file, sweep_uploads

DELETE_BATCH = 1000  # the most that one DeleteObjects request takes
PROBE_CONFIG = {"connect_timeout": 3, "read_timeout": 10, "retries": {"max_attempts": 2}}


class S3Store:
    """A `Store` below `prefix` in `bucket`; `create` and `replace` are one PUT each.

    So is `put` up to 100 MiB; above, s3fs sends parts, with which no later attempt goes on. A file
    of more than `part_bytes` (5 MiB at least) is sent in parts of that size.
    """

    def __init__(self, bucket: str, prefix: str, part_bytes: int = PART_BYTES) -> None:
        check_endpoint()
        self.bucket = bucket
        self.prefix = prefix
        self.part_bytes = part_bytes
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self._by_process: dict[int, Any] = {}

    def __reduce__(self) -> tuple[type["S3Store"], tuple[str, str, int]]:
        return S3Store, (self.bucket, self.prefix, self.part_bytes)

    @property
    def address(self) -> str:
        server: str = self._fs.s3.meta.endpoint_url
        return f"{server}/{self.bucket}/{self.prefix}".rstrip("/")

    def read(self, key: str) -> bytes:
        return self.read_token(key)[0]

    def read_token(self, key: str) -> tuple[bytes, str]:
        buffer = io.BytesIO()
        token = fetch_whole(self._fs.loop, self._ask(key), key, buffer)
        return buffer.getvalue(), token

    def exists(self, key: str) -> bool:
        # The answer to HEAD has no body: it would not tell a bucket that is gone from an object.
        path = self._build_key(key)
        page = self._call("list_objects_v2", Prefix=path, MaxKeys=1)
        return any(item["Key"] == path for item in page.get("Contents", []))

    def list_details(self, prefix: str = "") -> list[Entry]:
        found = (entry for entry in self._walk(prefix) if not _is_temporary(entry.key))
        return sorted(found)

    def list(self, prefix: str = "") -> list[str]:
        return [entry.key for entry in self.list_details(prefix) if not entry.key.endswith("/")]

    def put(self, key: str, data: bytes) -> None:
        with self._tell_refusal("write"):
            self._fs.pipe_file(f"{self.bucket}/{self._build_key(key)}", data)

    def create(self, key: str, data: bytes) -> None:
        if not self._put_if(key, data, IfNoneMatch="*"):
            raise FileExistsError(errno.EEXIST, "object exists", f"{self.uri}/{key}")

    def put_file(self, key: str, path: Path) -> None:
        if path.stat().st_size <= self.part_bytes:
            return self.put(key, path.read_bytes())
        send_file(self._call, self._build_key(key), PartedFile.cut(path, self.part_bytes))

    def create_file(self, key: str, path: Path) -> None:
        if (size_bytes := path.stat().st_size) <= self.part_bytes:
            return self.create(key, path.read_bytes())
        if self.exists(key):  # before anything is sent
            raise FileExistsError(errno.EEXIST, "object exists", f"{self.uri}/{key}")
        if not heeds_conditions(self._call, self._build_probe()):
            check_one_request(size_bytes, f"{self.uri}/{key}")
            return self.create(key, path.read_bytes())
        if not create_in_parts(
            self._call, self._build_key(key), PartedFile.cut(path, self.part_bytes)
        ):
            raise FileExistsError(errno.EEXIST, "object exists", f"{self.uri}/{key}")

    def find_file(self, key: str) -> Path | None:
        return None

    def replace(self, key: str, data: bytes, token: str | None) -> None:
        condition = {"IfNoneMatch": "*"} if token is None else {"IfMatch": token}
        try:
            written = self._put_if(key, data, **condition)
        except FileNotFoundError as error:
            raise Conflict(f"{self.uri}/{key} was deleted since it was read") from error
        if not written:
            raise Conflict(f"{self.uri}/{key} changed since it was read")

    def download(self, key: str, destination: Path) -> None:
        with reserve_in_folder(destination) as temporary:
            with temporary.open("xb") as file:
                fetch_whole(self._fs.loop, self._ask(key), key, file)
            os.replace(temporary, destination)

    def download_rest(self, key: str, partial: Path) -> None:
        with partial.open("ab") as file:
            fetch_rest(self._fs.loop, self._ask(key), key, file)

    def delete(self, prefix: str) -> None:
        root = f"{self.prefix}/" if self.prefix else ""
        keys = [self._build_key(prefix), *(root + entry.key for entry in self._walk(prefix))]
        for start in range(0, len(keys), DELETE_BATCH):
            batch = [{"Key": key} for key in keys[start : start + DELETE_BATCH]]
            response = self._call("delete_objects", Delete={"Objects": batch, "Quiet": True})
            for error in response.get("Errors", []):
                raise OSError(f"s3://{self.bucket}/{error['Key']}: {error['Message']}")

    def check_writable(self) -> None:
        fs = s3fs.S3FileSystem(skip_instance_cache=True, config_kwargs=PROBE_CONFIG)
        fs.retries = 1
        key = self._build_probe()
        with self._explain("write"):
            fs.call_s3("put_object", Bucket=self.bucket, Key=key, Body=b"probe")
        with self._explain("list"):
            fs.call_s3("list_objects_v2", Bucket=self.bucket, Prefix=key, MaxKeys=1)
        with self._explain("delete"):
            fs.call_s3("delete_object", Bucket=self.bucket, Key=key)
        sweep_uploads(self._call, f"{self.prefix}/" if self.prefix else "")

    @contextmanager
    def explain_errors(self) -> Iterator[None]:
        with self._explain("read"):
            yield

    @contextmanager
    def _explain(self, action: str) -> Iterator[None]:
        """Whatever S3 says to `action` is a UserError."""
        try:
            yield
        except (BotoCoreError, OSError) as error:
            raise UserError(f"store {self.uri}: {self._suggest(error, action)}") from error

    @contextmanager
    def _tell_refusal(self, action: str) -> Iterator[None]:
        """What no retry can change is a RefusedError; the rest stays what it is."""
        try:
            yield
        except (BotoCoreError, OSError) as error:
            if not is_refusal(error):
                raise
            raise RefusedError(f"store {self.uri}: {self._suggest(error, action)}") from error

    def _suggest(self, error: Exception, action: str) -> str:
        return suggest_remedy(error, action, self.bucket, self.prefix)

    @property
    def _fs(self) -> Any:
        """This process's file system: s3fs refuses one that was made before a fork."""
        process = os.getpid()
        if process not in self._by_process:
            fs = s3fs.S3FileSystem(
                skip_instance_cache=True,  # the cached one may hold an older environment
                use_listings_cache=False,
            )
            fs.retries = 1  # botocore makes 5 attempts already; 5 times 5 hang for half an hour
            self._by_process[process] = fs
        return self._by_process[process]

    def _walk(self, prefix: str) -> Iterator[Entry]:
        """All that is below `prefix`/, the objects that clients make for folders among it."""
        root = f"{self.prefix}/" if self.prefix else ""
        below = f"{self._build_key(prefix)}/" if prefix else root
        more: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=below, **more)
            for item in page.get("Contents", []):
                if key := item["Key"].removeprefix(root):
                    yield Entry(key, item["Size"], item["LastModified"].timestamp())
            if not page["IsTruncated"]:
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _build_key(self, key: str) -> str:
        return f"{self.prefix}/{check_key(key)}" if self.prefix else check_key(key)

    def _build_probe(self) -> str:
        return "/".join(filter(None, (self.prefix, f"{TEMPORARY}{uuid.uuid4().hex}")))

    def _call(self, method: str, **arguments: Any) -> Any:
        try:
            with self._tell_refusal(ACTIONS[method]):
                return self._fs.call_s3(method, Bucket=self.bucket, **arguments)
        except FileNotFoundError as error:
            name = f"s3://{self.bucket}/{arguments.get('Key', '')}"
            raise FileNotFoundError(errno.ENOENT, str(error), name) from error

    def _ask(self, key: str) -> Ask:
        """A GET of an object, once it is called."""
        return bind(self._call, "get_object", Key=self._build_key(key))

    def _put_if(self, key: str, data: bytes, **condition: str) -> bool:
        """Write the object if the condition holds and say so; raises FileNotFoundError."""
        call, whole, signature = self._call, self._build_key(key), sign()
        return send_once(
            lambda: call("put_object", Key=whole, Body=data, Metadata=signature, **condition),
            lambda: is_signed(call, whole, signature),
        )


def _is_temporary(key: str) -> bool:
    return any(part.startswith(TEMPORARY) for part in key.split("/"))
