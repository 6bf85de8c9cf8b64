"""The id of a browser's request. The log, the response and all calls to the API that follow from it carry the same id.

`X-Request-ID` carries the id, `traceparent` the place in a distributed trace (W3C Trace Context, section 3.2).
"""

import os
import re
from contextvars import ContextVar
from typing import NamedTuple

#: Without a dot, so that a token is not accepted as a request id and does not reach the log.
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-"
    r"(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_TRACE_ID_DIGITS = 32
_SAMPLED = 1


class RequestIds(NamedTuple):
    """The ids of one request; both are empty outside of a request, as in a management command."""

    request_id: str = ""
    traceparent: str = ""

    def headers(self) -> dict[str, str]:
        """The headers that tell the API which request a call belongs to."""
        return {"X-Request-ID": self.request_id, "traceparent": self.traceparent} if self.request_id else {}


_current: ContextVar[RequestIds] = ContextVar("request_ids", default=RequestIds())  # noqa: B039  # a tuple never changes


def start_request_ids(request_id: str, traceparent: str) -> RequestIds:
    """Set the ids of the request that this thread works on, from the request's headers; "" for a missing one.

    A valid id is kept, and a valid trace is continued with a new parent id. Missing and invalid ones are replaced by
    random ones. The ids stay in force until the next request: a streamed body is made after the view has returned.
    """
    random_hex = os.urandom(24).hex()
    trace, parent = random_hex[:_TRACE_ID_DIGITS], random_hex[_TRACE_ID_DIGITS:]
    request_ids = RequestIds(
        request_id if request_id and _REQUEST_ID.fullmatch(request_id) else trace,
        (traceparent and _continue_trace(traceparent, parent)) or f"00-{trace}-{parent}-01",
    )
    _current.set(request_ids)
    return request_ids


def current_request_ids() -> RequestIds:
    """The ids of the request that this thread works on."""
    return _current.get()


def _continue_trace(traceparent: str, parent: str) -> str:
    """The request's trace with a new parent, as version 00 of the format; "" for an invalid traceparent.

    The flag `sampled` is kept; no other flag is defined. New traces set it, because an API that records only what its
    caller samples (OpenTelemetry's default) would otherwise record nothing.
    """
    known = _TRACEPARENT.fullmatch(traceparent)
    # A newer version may have more than the four known fields. Version 00 may not.
    if known is None or (known["version"] == "00" and known["more"] is not None):
        return ""
    return f"00-{known['trace']}-{parent}-{int(known['flags'], 16) & _SAMPLED:02x}"
