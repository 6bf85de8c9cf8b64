"""What was wrong with a call to the API, in our own words: the errors of the libraries quote the response."""

import http.client
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

from urllib3.exceptions import (
    ConnectTimeoutError,
    DecodeError,
    IncompleteRead,
    NewConnectionError,
    ReadTimeoutError,
)

from accounts.upstream.content_coding import CompressedBodyCutShort
from accounts.upstream.http_message import UnusableMessage

#: OpenSSL's codes for a certificate without a trusted authority (openssl-verification-options(1)).
_UNKNOWN_AUTHORITY = (18, 19, 20, 21)


class UploadCutShort(OSError):
    """The browser did not send the whole body of its request. The API did not fail."""


def describe_failure(error: BaseException) -> str:
    """The reason of a failed call, for the log and for the exceptions of this package."""
    causes = list(_causes(error))
    for kind, describe in _REASONS:
        for cause in causes:
            if isinstance(cause, kind) and (reason := describe(cause) if callable(describe) else describe):
                return reason
    return type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that led to it. requests and urllib3 also keep errors in `args` and `reason`."""
    waiting, seen = [error], set()
    while waiting:
        cause = waiting.pop(0)
        if id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            linked = (*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__)
            waiting += [link for link in linked if isinstance(link, BaseException)]


def _describe_certificate(error: Any) -> str:
    reason = f"the certificate is not trusted: {error.verify_message}"
    if error.verify_code in _UNKNOWN_AUTHORITY:
        reason += " (API_CA_BUNDLE can name the authority that issued it)"
    return reason


def _describe_tls(error: Any) -> str:
    # OpenSSL's name of the problem, such as WRONG_VERSION_NUMBER.
    return f"TLS fails: {error.reason}" if isinstance(error.reason, str) and error.reason else "TLS fails"


def _describe_connection(error: Any) -> str:
    return f"no connection: {os.strerror(error.errno)}" if error.errno else ""


def _describe_missing_bytes(error: Any) -> str:
    read = error.partial if isinstance(error.partial, int) else len(error.partial)
    if error.expected is None:
        return "the chunked body is cut off"
    return f"the body is cut off after {read} of {read + error.expected} bytes"


_REASONS: tuple[tuple[Any, str | Callable[[Any], str]], ...] = (
    (UnusableMessage, str),
    (UploadCutShort, "the browser did not send the whole body"),
    (CompressedBodyCutShort, str),
    (DecodeError, "the compressed body is damaged"),
    (ssl.SSLCertVerificationError, _describe_certificate),
    (ssl.SSLError, _describe_tls),
    (socket.gaierror, "the host name has no address"),
    (ConnectionRefusedError, "the connection is refused"),
    (NewConnectionError, ""),
    (ConnectTimeoutError, "no connection in time"),
    (http.client.LineTooLong, "a line is too long"),
    (IncompleteRead, _describe_missing_bytes),
    (http.client.IncompleteRead, _describe_missing_bytes),
    (http.client.RemoteDisconnected, "the connection was closed before a response came"),
    (http.client.HTTPException, "the response is not one of HTTP"),
    (ReadTimeoutError, "no data in time"),
    ((ConnectionResetError, BrokenPipeError), "the connection was reset"),
    (ConnectionAbortedError, "the other side no longer acknowledges data"),
    (TimeoutError, "no data in time"),
    (OSError, _describe_connection),
)
