"""OpenTelemetry spans: a page, and what it waits for. Off unless OTEL_EXPORTER_OTLP_ENDPOINT is set (`conf.spans`).

They are our own. The instrumentation for Django ends a page's span before a streamed body, and records the texts of
exceptions; the one for requests does not see our transport. No attribute holds a query, a header, a body or a user.
"""

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponseBase
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    Tracer,
    get_current_span,
    get_tracer,
    get_tracer_provider,
    set_span_in_context,
)
from requests import PreparedRequest

from accounts.conf import conf
from accounts.telemetry.request_id import propagator, read_trace

# Of the semantic conventions for HTTP. Any other method would be a name that a visitor chose.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})


@functools.cache
def _tracer() -> Tracer:
    return get_tracer("accounts")


def start_page_span(request: HttpRequest, path: str) -> Span:
    """The span of a browser's request, in the trace of its headers. Spans of this thread will be below it.

    `path` is the request's, safe to show.
    """
    caller = read_trace(request.META.get("HTTP_TRACEPARENT", ""), request.META.get("HTTP_TRACESTATE", ""))
    context = set_span_in_context(NonRecordingSpan(caller), Context()) if caller.is_valid else Context()
    span = _tracer().start_span(
        _method_name(request.method),
        context,
        SpanKind.SERVER,
        attributes={
            "http.request.method": _known_method(request.method),
            "url.scheme": str(request.scheme),
            "url.path": path,
        },
    )
    attach(set_span_in_context(span, Context()))
    return span


def end_page_span(span: Span, request: HttpRequest, response: HttpResponseBase) -> None:
    """End the span with the response, and with the body of a streamed one.

    A response without an error that no view made, such as a static file or a health check, is not worth a span: one
    that is never ended is not exported.
    """
    match, status = request.resolver_match, response.status_code
    if match is None and status < 400:
        return
    if match is not None:
        route = f"/{match.route}"
        span.update_name(f"{_method_name(request.method)} {route}")
        span.set_attribute("http.route", route)
    span.set_attribute("http.response.header.x-request-id", [response["X-Request-ID"]])
    _set_status(span, status, is_error=status >= 500)
    if response.streaming:
        # Servers close each response, also when the browser has left.
        response._resource_closers.append(span.end)  # type: ignore[attr-defined]  # django-stubs leave it out
    else:
        span.end()


def start_call_span(request: PreparedRequest, path: str) -> Span:
    """The span of a call to the API, which gets the call's place in the trace. `path` is the call's, safe to show."""
    url = urlsplit(str(request.url))
    span = _tracer().start_span(
        _method_name(request.method),
        kind=SpanKind.CLIENT,
        attributes={
            "http.request.method": _known_method(request.method),
            "url.full": f"{url.scheme}://{url.netloc.rpartition('@')[2]}{path}",
            "server.address": str(url.hostname),
            "server.port": url.port or (443 if url.scheme == "https" else 80),
        },
    )
    propagator.inject(request.headers, set_span_in_context(span))
    return span


def end_call_span(span: Span, status: int | None, error: type[BaseException] | None) -> None:
    """End the span of a call. `status` is None if there was no complete response, because of `error`."""
    if status is not None:
        _set_status(span, status, is_error=status >= 400)
    else:
        span.set_attribute("error.type", "no response" if error is None else error.__name__)
        span.set_status(StatusCode.ERROR)
    span.end()


@contextmanager
def inner_span(name: str) -> Iterator[None]:
    """A span for the block. Spans that this thread begins inside are below it. Does nothing if spans are off."""
    if not conf.spans:
        yield
        return
    span = _tracer().start_span(name)
    token = attach(set_span_in_context(span))
    try:
        yield
    finally:
        detach(token)
        span.end()


def add_past_span(name: str, *, since: float | None, generation: int | None) -> None:
    """A span for what lasted from `since` (time.monotonic()) until now, or happened just now."""
    now = time.time_ns()
    began = now if since is None else now - round((time.monotonic() - since) * 1e9)
    attributes = {} if generation is None else {"api_session.generation": generation}
    _tracer().start_span(name, start_time=began, attributes=attributes).end(now)


def current_span() -> SpanContext:
    """The place of the span that this thread works on; one that is not valid outside of spans."""
    return get_current_span().get_span_context()


def finish_spans() -> None:
    """Export the spans that are left, in a process that is about to end."""
    shutdown = getattr(get_tracer_provider(), "shutdown", None) if conf.spans else None
    if shutdown is not None:
        shutdown()


def _known_method(method: str | None) -> str:
    return method if method in _METHODS else "_OTHER"


def _method_name(method: str | None) -> str:
    return method if method in _METHODS else "HTTP"


def _set_status(span: Span, status: int, *, is_error: bool) -> None:
    span.set_attribute("http.response.status_code", status)
    if is_error:
        span.set_attribute("error.type", str(status))
        span.set_status(StatusCode.ERROR)
