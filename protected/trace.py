"""The drawn exchange: what went between browser, Django and API in the latest requests of this very session.

It is there where API_TRACE is on. Its own requests are left out, and none of them calls the API.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from uuid import UUID

from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_safe

from accounts.api import ApiRequest
from accounts.diagram.svg import draw_request, summarize_request
from accounts.history.traced_requests import KEPT_REQUESTS
from accounts.models import TracedRequest
from accounts.rotation.database import database_errors_as_unavailable
from accounts.session.api_session import ApiSession
from accounts.streaming import HEARTBEAT, HEARTBEAT_SECONDS, Event, stream_events

#: Each page that is open holds a thread of the server: it lets go now and then, and the browser comes back by itself.
MAX_SECONDS = 120.0
_POLL_SECONDS = 1.0
#: A streamed request has two rows.
_ROWS = 2 * KEPT_REQUESTS


@require_safe
def page(request: ApiRequest) -> HttpResponse:
    """The latest requests, drawn. `events` brings what happens from now on."""
    session = _own_session(request)
    with database_errors_as_unavailable():
        rows = TracedRequest.objects.ids_of(session.id, _ROWS)
        traced = TracedRequest.objects.of(session.id, KEPT_REQUESTS)
    context = {
        "requests": [draw_request(row, is_open=number == 0) for number, row in enumerate(traced)],
        "last": max(rows, default=0),
        "most": KEPT_REQUESTS,
        "user": session.user,
    }
    return render(request, "protected/trace.html", context, using="pages")


@require_GET
def events(request: ApiRequest) -> HttpResponseBase:
    """Server-sent events: `request` for each one that is new behind `?after=` or the Last-Event-ID of the browser."""
    session = _own_session(request)
    after = 0
    with suppress(ValueError):
        after = int(request.headers.get("Last-Event-ID") or request.GET.get("after", "0"))
    return stream_events(request, _news(request, session.id, after))


def _own_session(request: ApiRequest) -> ApiSession:
    """The session whose requests are shown. Raises Http404 where none are recorded, SignInRequired for a visitor, and
    for a copy of a session that is over; ApiUnavailable where the records cannot be reached.
    """
    if request.trace is None:
        raise Http404("API_TRACE is off")
    request.trace.left_out = True
    return request.api_session.require_verified()


def _news(request: ApiRequest, session_id: UUID, after: int) -> Iterator[Event | str]:
    """What is written down from now on, by any process of the site. Ends with the session, or after a while."""
    yield "retry: 1000\n\n"
    started = living_at = time.monotonic()
    with database_errors_as_unavailable():
        # By their ids and not from the last one on: two processes may write in another order than they counted.
        seen = {pk for pk in TracedRequest.objects.ids_of(session_id, _ROWS) if pk <= after}
    while time.monotonic() - started < MAX_SECONDS:
        with database_errors_as_unavailable():
            rows = TracedRequest.objects.ids_of(session_id, _ROWS)
            new = list(TracedRequest.objects.filter(pk__in=rows - seen).order_by("pk"))
        seen = rows
        for row in new:
            yield Event(
                name="request",
                id=str(row.pk),
                data={"html": draw_request(row, is_open=True), "words": summarize_request(row)},
            )
        if time.monotonic() - living_at >= HEARTBEAT_SECONDS:
            living_at = time.monotonic()
            request.api_session.require_verified()
            yield HEARTBEAT
        time.sleep(_POLL_SECONDS)
