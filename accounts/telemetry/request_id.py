"""The id of a browser's request. The log, the response and all calls to the API that follow from it carry the same id.

`X-Request-ID` carries the id, `traceparent` the place in a distributed trace. OpenTelemetry's propagator reads it.
"""

import re
from contextvars import ContextVar
from typing import NamedTuple

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, TraceFlags, format_span_id, format_trace_id, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from accounts.random_bytes import random_bytes

#: Without a dot, so that a token is not accepted as a request id and does not reach the log.
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TRACE_ID_DIGITS = 32
#: W3C Trace Context: the headers `traceparent` and `tracestate`.
propagator = TraceContextTextMapPropagator()


class RequestIds(NamedTuple):
    """The ids of one request; both are empty outside of a request, as in a management command."""

    request_id: str = ""
    traceparent: str = ""

    def headers(self) -> dict[str, str]:
        """The headers that tell the API which request a call belongs to."""
        return {"X-Request-ID": self.request_id, "traceparent": self.traceparent} if self.request_id else {}


_current: ContextVar[RequestIds] = ContextVar("request_ids", default=RequestIds())  # noqa: B039  # a tuple never changes


def start_request_ids(request_id: str, traceparent: str, page: SpanContext | None = None) -> RequestIds:
    """Set the ids of the request that this thread works on, from the request's headers; "" for a missing one.

    `page` is the request's span; None if no spans are recorded. A valid id is kept, and a valid trace is continued with
    a new parent id. Missing and invalid ones are replaced by random ones. The ids stay in force until the next request:
    a streamed body is made after the view has returned.

    The flag `sampled` is kept. New traces set it, because an API that records only what its caller samples
    (OpenTelemetry's default) would otherwise record nothing.
    """
    random_hex = random_bytes()[:24].hex()
    own = random_hex[:_TRACE_ID_DIGITS]
    trace, span, flags = own, random_hex[_TRACE_ID_DIGITS:], TraceFlags.SAMPLED
    if page is not None:
        trace, span, flags = format_trace_id(page.trace_id), format_span_id(page.span_id), page.trace_flags
    elif traceparent and (caller := read_trace(traceparent)).is_valid:
        trace, flags = format_trace_id(caller.trace_id), caller.trace_flags & TraceFlags.SAMPLED
    if not (request_id and _REQUEST_ID.fullmatch(request_id)):
        # A trace that came with the request has other requests too.
        request_id = own if trace in traceparent else trace
    request_ids = RequestIds(request_id, f"00-{trace}-{span}-{flags:02x}")
    _current.set(request_ids)
    return request_ids


def read_trace(traceparent: str, tracestate: str = "") -> SpanContext:
    """The place in a trace that a request's headers name; one that is not valid for missing and invalid headers."""
    headers = {"traceparent": traceparent, **({"tracestate": tracestate} if tracestate else {})}
    return get_current_span(propagator.extract(headers, Context())).get_span_context()


def current_request_ids() -> RequestIds:
    """The ids of the request that this thread works on."""
    return _current.get()
