"""What an error of S3 means, and what the user can do about it."""

import os
from contextlib import suppress
from urllib.parse import urlsplit

from botocore.exceptions import (
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from vae.errors import UserError, extract_message

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")  # the first that is set

ACTIONS = {
    "list_objects_v2": "list",
    "list_multipart_uploads": "list",
    "list_parts": "list",
    "get_object": "read",
    "head_object": "read",
    "put_object": "write",
    "create_multipart_upload": "write",
    "upload_part": "write",
    "complete_multipart_upload": "write",
    "abort_multipart_upload": "write",
    "delete_objects": "delete",
}
KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidSecurity"}
TOKENS = {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"}
FULL = {
    "InsufficientStorage",
    "QuotaExceeded",
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
}
REFUSALS = KEYS | TOKENS | FULL | {"AccessDenied", "RequestTimeTooSkewed", "NoSuchBucket"}


def is_refusal(error: Exception) -> bool:
    """Whether trying again can't help: keys, clock, policy or bucket have to change first."""
    credentials = isinstance(error, NoCredentialsError | PartialCredentialsError)
    return credentials or isinstance(error, PermissionError) or find_error_code(error) in REFUSALS


def suggest_remedy(error: Exception, action: str, bucket: str, prefix: str) -> str:
    """What is wrong where `action` ("read", "list", ...) below a prefix failed, and how to fix it.

    One line, also where the server says more.
    """
    where = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "AWS")
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return "no credentials, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if isinstance(error, ConnectionError | HTTPClientError):
        return f"cannot reach {where} ({type(error).__name__}), check AWS_ENDPOINT_URL"
    code, said = find_error_code(error), f"{where} refuses to {action} ({extract_message(error)})"
    if code == "NoSuchBucket":
        return (
            f"no bucket '{bucket}' at {where}, create it: aws s3api create-bucket --bucket {bucket}"
        )
    if code in KEYS:
        return f"{said}, check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: revoked or mistyped"
    if code in TOKENS:
        return f"{said}, set AWS_SESSION_TOKEN and its keys anew"
    if code in FULL:
        return f"{said}, make room: it is full, or a quota is reached"
    if code == "RequestTimeTooSkewed":
        return f"{said}, set the clock of this machine"
    if isinstance(error, PermissionError):
        below = f"{bucket}/{prefix}/*" if prefix else f"{bucket}/*"
        return (
            f"{said}, the policy of AWS_ACCESS_KEY_ID must allow s3:ListBucket on {bucket}, and "
            f"s3:GetObject, s3:PutObject and s3:DeleteObject on {below}"
        )
    return f"cannot {action} at {where}: {extract_message(error)}"


def check_endpoint() -> None:
    """Raise UserError for an address that botocore would only find to be none when it is used."""
    for name in filter(os.environ.get, ENDPOINTS):
        with suppress(ValueError):  # no address of IPv6, a port that is no number or too large
            parts = urlsplit(os.environ[name])
            if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
                continue
        raise UserError(f"{name} is '{os.environ[name]}', must be http://host:port or https://host")


def find_error_code(error: BaseException | None) -> str:
    """The S3 error code behind an s3fs exception, which translates some codes wrongly; or ""."""
    while error is not None:
        if isinstance(error, ClientError):
            code: str = error.response["Error"]["Code"]
            return code
        error = error.__cause__
    return ""
