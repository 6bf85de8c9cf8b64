"""EventSource (WHATWG HTML, section 9.2): which responses let it reconnect, and which ones stop it.

It reconnects when a stream ends or breaks off. Any status but 200 stops it for good, and so does any content type but
text/event-stream. So the response to a passing failure is a stream that says when to reconnect, and ends.
"""

import random

import requests
from django.http import HttpRequest, HttpResponse

from accounts.exceptions import RETRY_AFTER_SECONDS, ApiUnavailable, SignInRequired
from accounts.upstream.event_stream import EVENT_STREAM
from accounts.upstream.retry_after import parse_retry_after

#: Nginx holds the pieces of a stream back until its buffer is full, unless X-Accel-Buffering turns that off.
STREAM_HEADERS = {"X-Accel-Buffering": "no", "Cache-Control": "private, no-store, no-transform"}
#: After a stream that ends as it should, or breaks off.
RECONNECT_SECONDS = 2.0
#: Statuses of the API below 500 that mean: try again later.
TEMPORARY_STATUSES = (408, 425, 429)
_MAX_RETRY_SECONDS = 30.0
#: The id of the last event of a stream that is over for good. The browser sends it when it reconnects.
_OVER = "the-stream-is-over"
#: Ends a stream for good: the browser reconnects once more, and a 204 stops it. Firefox forgets the id without data.
OVER = f"event: over\nid: {_OVER}\ndata:\n\n"

_random = random.SystemRandom()


def is_event_source(request: HttpRequest) -> bool:
    """Whether the request asks for an event stream. A script that also takes JSON understands a 503."""
    accept = request.META.get("HTTP_ACCEPT", "").lower()
    return request.method == "GET" and EVENT_STREAM in accept and "application/json" not in accept


def is_over(request: HttpRequest) -> bool:
    """Whether an EventSource reconnects after OVER. Asked for each request: `request.headers` takes longer."""
    return request.META.get("HTTP_LAST_EVENT_ID") == _OVER and is_event_source(request)


def retry_line(seconds: float) -> str:
    """Tells the browser to reconnect after one to two times `seconds`, so that not all browsers come at once."""
    return f"retry: {round(min(max(seconds, 1.0), _MAX_RETRY_SECONDS) * _random.uniform(1000, 2000))}\n"


def reconnect_response(retry_after: float | None) -> HttpResponse:
    """A stream that ends at once, so that an EventSource reconnects later. None means 5 seconds."""
    body = f"{retry_line(RETRY_AFTER_SECONDS if retry_after is None else retry_after)}: unavailable\n\n"
    return HttpResponse(body, content_type=EVENT_STREAM, headers=STREAM_HEADERS)


def seconds_until_retry(error: Exception) -> float | None:
    """When to try again after `error`. None if the error is final: no session, or a refusal in the API's own words."""
    if isinstance(error, SignInRequired):
        return None
    if isinstance(error, ApiUnavailable):
        return error.retry_after
    if isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
        if status < 500 and status not in TEMPORARY_STATUSES:
            return None
        seconds = parse_retry_after(error.response.headers.get("Retry-After"))
        return RETRY_AFTER_SECONDS if seconds is None else seconds
    return RETRY_AFTER_SECONDS
