"""The request trace: what browser, Django and API sent each other in the latest requests of the user's own session.

Only where API_TRACE is on. The requests of these views are not recorded, and none of them calls the API.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from uuid import UUID

from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_safe

from accounts.api_client import ApiRequest
from accounts.database_pool import give_back_connections
from accounts.diagram.svg import render_traced_request, summarize_request
from accounts.history.traced_requests import KEPT_REQUESTS
from accounts.models import TracedRequest
from accounts.rotation.database import database_errors_as_unavailable
from accounts.session.api_session import ApiSession
from accounts.streaming import HEARTBEAT, HEARTBEAT_SECONDS, Event, stream_events

#: An open page occupies a thread of the server. The stream ends after this time, and the browser reconnects.
MAX_SECONDS = 120.0
_POLL_SECONDS = 1.0
#: A streamed request has two rows.
_MAX_ROWS = 2 * KEPT_REQUESTS


@require_safe
def page(request: ApiRequest) -> HttpResponse:
    """The latest requests. `events` sends the new ones."""
    session = _own_session(request)
    with database_errors_as_unavailable():
        rows = TracedRequest.objects.ids_of(session.id, _MAX_ROWS)
        traced = TracedRequest.objects.of(session.id, KEPT_REQUESTS)
    context = {
        "requests": [render_traced_request(row, is_open=number == 0) for number, row in enumerate(traced)],
        "last": max(rows, default=0),
        "most": KEPT_REQUESTS,
    }
    return render(request, "protected/trace.html", context)


@require_GET
def events(request: ApiRequest) -> HttpResponseBase:
    """Server-sent events: a `request` event for each row after `?after=` or the browser's Last-Event-ID."""
    session = _own_session(request)
    after = 0
    with suppress(ValueError):
        after = int(request.headers.get("Last-Event-ID") or request.GET.get("after", "0"))
    return stream_events(request, _new_request_events(request, session.id, after))


def _own_session(request: ApiRequest) -> ApiSession:
    """The session whose requests are shown. Raises Http404 if API_TRACE is off, SignInRequired for a visitor and for a
    copied cookie of an ended session, and ApiUnavailable if the database does not respond.
    """
    if request.trace is None:
        raise Http404("API_TRACE is off")
    request.trace.left_out = True
    return request.api_session.require_verified()


def _new_request_events(request: ApiRequest, session_id: UUID, after: int) -> Iterator[Event | str]:
    """Rows that any process of the site writes from now on. Ends with the session, or after MAX_SECONDS."""
    started = verified_at = time.monotonic()
    with database_errors_as_unavailable():
        # A set of ids, not the last id: two processes may write rows in another order than they took their ids.
        seen = {pk for pk in TracedRequest.objects.ids_of(session_id, _MAX_ROWS) if pk <= after}
    while time.monotonic() - started < MAX_SECONDS:
        with database_errors_as_unavailable():
            rows = TracedRequest.objects.ids_of(session_id, _MAX_ROWS)
            new = list(TracedRequest.objects.filter(pk__in=rows - seen).order_by("pk"))
        seen = rows
        for row in new:
            yield Event(
                name="request",
                id=str(row.pk),
                data={"html": render_traced_request(row, is_open=True), "summary": summarize_request(row)},
            )
        if time.monotonic() - verified_at >= HEARTBEAT_SECONDS:
            verified_at = time.monotonic()
            request.api_session.require_verified()
            yield HEARTBEAT
        give_back_connections()
        time.sleep(_POLL_SECONDS)
