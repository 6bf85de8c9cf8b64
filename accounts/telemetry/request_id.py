"""One request of a browser, with all that follows from it: the id that is in the log, in the answer and at the API.

Whoever has the id from one of the three finds the other two. `X-Request-ID` carries it, and `traceparent` the place in
a distributed trace (W3C Trace Context, section 3.2).
"""

import os
import re
from contextvars import ContextVar
from typing import NamedTuple

#: No dot, so no token gets into the log as the id of a request.
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-"
    r"(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_TRACE_ID_DIGITS = 32
_SAMPLED = 1


class RequestIds(NamedTuple):
    """What one request is called; both are empty where there is none, as in a management command."""

    request_id: str = ""
    traceparent: str = ""

    def headers(self) -> dict[str, str]:
        """What a call to the API says of the request that it is made for."""
        return {"X-Request-ID": self.request_id, "traceparent": self.traceparent} if self.request_id else {}


_current: ContextVar[RequestIds] = ContextVar("request_ids", default=RequestIds())  # noqa: B039  # a tuple never changes


def start_request_ids(request_id: str, traceparent: str) -> RequestIds:
    """From now on this thread answers the request that came with these headers; "" for one that it had not.

    A sane id is taken over, and a trace is continued with a parent id of our own. For what is missing or no use,
    something new is drawn. Nothing ends the exchange but the next one: a streamed body is made after the answer was
    returned.
    """
    drawn = os.urandom(24).hex()
    trace, parent = drawn[:_TRACE_ID_DIGITS], drawn[_TRACE_ID_DIGITS:]
    request_ids = RequestIds(
        request_id if request_id and _REQUEST_ID.fullmatch(request_id) else trace,
        (traceparent and _continued(traceparent, parent)) or f"00-{trace}-{parent}-01",
    )
    _current.set(request_ids)
    return request_ids


def current_request_ids() -> RequestIds:
    """The exchange that this thread works on."""
    return _current.get()


def _continued(traceparent: str, parent: str) -> str:
    """The trace that a request belongs to, in our version of the format; "" for one that is not valid.

    Of the flags only `sampled` is defined. Whoever begins a trace sets it: an API that asks its caller whether to
    record anything (OpenTelemetry's do by default) would record nothing more behind this site.
    """
    known = _TRACEPARENT.fullmatch(traceparent)
    # A newer version may say more behind the four fields that we know. Ours may not.
    if known is None or (known["version"] == "00" and known["more"] is not None):
        return ""
    return f"00-{known['trace']}-{parent}-{int(known['flags'], 16) & _SAMPLED:02x}"
