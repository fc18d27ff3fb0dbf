"""Foreign errors become vgen's here, and lose their secrets on the way.

The original stays the cause, for ``VGEN_DEBUG``; what people and reports see is one sentence with
the remedy.
"""

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError

from vgen.errors import FullError, MissingError, RefusedError, StorageError, VgenError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""What the system says where a disk or a quota is used up."""

# What a store says of the keys that it was shown, and not of an object.
_OF_ALL_OBJECTS = frozenset({
    "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidToken", "RequestExpired",
    "RequestTimeTooSkewed", "SignatureDoesNotMatch", "TokenRefreshRequired",
})  # fmt: skip
_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
_USER_INFO = re.compile(r"//[^/@\s]+@")


@contextmanager
def translated(action: str, uri: str) -> Iterator[None]:
    """Turn what operating system, store or its client raise into a ``StorageError``.

    Args:
        action: A verb that ``uri`` is the object of, such as ``read``.
        uri: The object or folder worked on.
    """
    try:
        yield
    except VgenError:
        raise
    except FileNotFoundError as error:
        reason = "the bucket does not exist" if code_of(error) == "NoSuchBucket" else "not found"
        raise MissingError(f"cannot {action} {uri!r}: {reason}") from error
    except _foreign_errors() as error:
        raise _kind(error)(f"cannot {action} {uri!r}: {_reason(error)}") from error


def code_of(error: BaseException) -> str:
    """Return the store's own error code behind ``error``, such as ``NoSuchBucket``, or ''."""
    origin = error if isinstance(error, ClientError) else error.__cause__
    if not isinstance(origin, ClientError):
        return ""
    return str(origin.response.get("Error", {}).get("Code", ""))


def _foreign_errors() -> tuple[type[Exception], ...]:
    """Return what the system and the store's client raise.

    Asked only when something was raised, and not imported for it: loading aiohttp takes longer
    than all of this package, and only s3fs needs it.
    """
    aiohttp = sys.modules.get("aiohttp")
    http_errors = (aiohttp.ClientError,) if aiohttp is not None else ()
    store_errors = (BotoCoreError, ClientError, ResponseParserError, HTTPException)
    return (OSError, *store_errors, *http_errors)


def _kind(error: Exception) -> type[StorageError]:
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return FullError
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return RefusedError
    is_refused = isinstance(error, PermissionError) and code_of(error) not in _OF_ALL_OBJECTS
    return RefusedError if is_refused else StorageError


def _reason(error: Exception) -> str:
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a role"
    if isinstance(error, EndpointConnectionError):
        return f"{_redacted(str(error))}; check AWS_ENDPOINT_URL and that the server runs"
    if isinstance(error, PermissionError):
        return f"not allowed ({_redacted(str(error))}); check the credentials and permissions"
    if isinstance(error, TimeoutError):
        return f"no answer in time ({type(error).__name__}); check the network and rerun"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return _redacted(text) or type(error).__name__


def _redacted(text: str) -> str:
    for name in _SECRETS:
        if secret := os.environ.get(name):
            text = text.replace(secret, "***")
    return _USER_INFO.sub("//***@", text)
