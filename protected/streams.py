"""Streamed responses: HTML row by row, server-sent events with a page that shows them, and a large download."""

import time
from collections.abc import Iterator

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.http import require_GET
from django.views.decorators.vary import vary_on_headers

from accounts.api_client import ApiRequest
from accounts.browser.error_responses import bad_request_response, is_script
from accounts.exceptions import ApiMisbehaved
from accounts.streaming import HEARTBEAT, HEARTBEAT_SECONDS, Event, PassThroughBody, stream_events, stream_html
from protected.tables import Table, as_table

MAX_ROWS = 1000
MAX_DELAY_SECONDS = 60.0
MAX_SECONDS = 600.0
MAX_BYTES = 1024**3
# The access token should last for the start and the end of the page, too.
_SPARE_SECONDS = 10.0


@require_GET
def stream(request: ApiRequest) -> HttpResponseBase:
    """`?rows=N&delay=S`: a page that calls the API for each row, with S seconds between rows."""
    try:
        rows, delay = _rows_and_delay(request)
    except ValueError as error:
        return bad_request_response(request, str(error))
    request.api_session.ensure_fresh(rows * delay + _SPARE_SECONDS)
    return stream_html(request, _html_rows(request, rows, delay))


@require_GET
@vary_on_headers("Accept", "Sec-Fetch-Mode")
def events(request: ApiRequest) -> HttpResponseBase:
    """The same rows as server-sent events. A browser that reconnects gets the rows after its Last-Event-ID.

    The last event is named `end`. A browser that reconnects after it gets a 204, which makes it stop. A browser that
    opens this address as a page gets a page, whose script asks for the events at the same address.
    """
    try:
        rows, delay = _rows_and_delay(request)
        last = _number(request.headers.get("Last-Event-ID", "0"), "Last-Event-ID", 0, MAX_ROWS, int)
    except ValueError as error:
        return bad_request_response(request, str(error))
    if "text/html" in request.headers.get("Accept", "") and not is_script(request):
        request.api_session.require()
        return render(request, "protected/events.html", {"rows": rows})
    request.api_session.ensure_fresh((rows - last) * delay + _SPARE_SECONDS)
    if last >= rows:
        return HttpResponse(status=204)
    return stream_events(request, _row_events(request, int(last) + 1, rows, delay))


@require_GET
def download(request: ApiRequest) -> HttpResponseBase:
    """`?bytes=N`: a large response of the API, passed on without keeping it in memory.

    A file cannot carry a session update. The session can rotate only before the first byte, when the headers carry it.
    """
    try:
        size = _number(request.GET.get("bytes", "65536"), "bytes", 1, MAX_BYTES, int)
    except ValueError as error:
        return bad_request_response(request, str(error))
    api_response = request.api.get("/protected-route/export.csv", params={"bytes": int(size)}, stream=True)
    if api_response.status_code != 200:
        api_response.close()
        raise ApiMisbehaved(f"the export responded with {api_response.status_code}")
    response = StreamingHttpResponse(
        PassThroughBody(api_response, decoded=True), content_type="text/csv; charset=utf-8"
    )
    response["Content-Disposition"] = 'attachment; filename="export.csv"'
    response["X-Accel-Buffering"] = "no"
    return response


def _html_rows(request: ApiRequest, rows: int, delay: float) -> Iterator[str]:
    head, foot = render_to_string("protected/stream.html", {"rows": rows}, request=request).split("<!-- rows -->")
    yield head
    for number in range(1, rows + 1):
        if number > 1:
            time.sleep(delay)
        context = {"number": number, "cells": _row(request, number)}
        yield render_to_string("protected/stream_row.html", context, request=request)
    yield foot


def _row_events(request: ApiRequest, first: int, rows: int, delay: float) -> Iterator[Event | str]:
    for number in range(first, rows + 1):
        if number > 1:
            yield from _heartbeats(request, delay)
        yield Event(id=str(number), data={"number": number, "row": dict(_row(request, number))})
    yield Event(name="end", data={"rows": rows})


def _heartbeats(request: ApiRequest, seconds: float) -> Iterator[str]:
    """Wait, and send heartbeats while the session lives."""
    while seconds > 0:
        time.sleep(min(seconds, HEARTBEAT_SECONDS))
        seconds -= HEARTBEAT_SECONDS
        if seconds > 0:
            request.api_session.require_verified()
            yield HEARTBEAT


def _row(request: ApiRequest, number: int) -> list[tuple[str, str]]:
    """One fresh row of the API's data. Raises SessionEnded after a sign-out elsewhere."""
    request.api_session.require_verified()
    api_response = request.api.get("/protected-route")
    api_response.raise_for_status()
    table: Table = as_table(api_response.json())
    if not table.rows:
        return [("data", table.text)]
    return list(zip(table.columns, table.rows[(number - 1) % len(table.rows)], strict=True))


def _rows_and_delay(request: ApiRequest) -> tuple[int, float]:
    rows = int(_number(request.GET.get("rows", "10"), "rows", 1, MAX_ROWS, int))
    delay = _number(request.GET.get("delay", "0.5"), "delay", 0, MAX_DELAY_SECONDS, float)
    if rows * delay > MAX_SECONDS:
        # Each stream occupies a thread of the server.
        raise ValueError(f"rows times delay must be at most {MAX_SECONDS:g} seconds.")
    return rows, delay


def _number(text: str, name: str, lowest: float, highest: float, kind: type[int] | type[float]) -> float:
    """Raises ValueError with a message for the user."""
    noun = "a whole number" if kind is int else "a number"
    try:
        number = kind(text)
    except ValueError:
        number = lowest - 1
    if not lowest <= number <= highest:
        raise ValueError(f"{name} must be {noun} between {lowest:g} and {highest:g}.")
    return number
