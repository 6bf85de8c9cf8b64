"""Streamed responses: the session may rotate after the headers were sent, so the body carries the session update.

HTML carries `<session-update>`, whose script posts the update to the deferred-update endpoint. An event stream sends
an event named `session-update`. An update that never arrives is not lost: the next request adopts it from the record.

An event stream that ends early says when to reconnect. `accounts.browser.event_source` has the rules.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.http import StreamingHttpResponse
from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from requests import RequestException, Response
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError

from accounts.api_client import ApiRequest
from accounts.browser.error_responses import sign_in_url, switch_url, why_required
from accounts.browser.event_source import (
    OVER,
    RECONNECT_SECONDS,
    STREAM_HEADERS,
    retry_line,
    seconds_until_retry,
)
from accounts.browser.session import BrowserSession
from accounts.exceptions import AccountsError, ApiMisbehaved, ApiUnavailable, SignInRequired
from accounts.shutdown import Departure
from accounts.upstream.event_stream import (
    EVENT_END,
    EVENT_STREAM,
    EVENT_STREAM_HEADERS,
    HEARTBEAT_SECONDS,
    LINE_END,
    is_event_stream,
    read_events,
)
from accounts.upstream.failure_reasons import describe_failure

logger = logging.getLogger(__name__)

__all__ = [
    "HEARTBEAT",
    "HEARTBEAT_SECONDS",
    "OVER",
    "Event",
    "PassThroughBody",
    "PassThroughEvents",
    "api_events",
    "session_update",
    "stream",
    "stream_events",
    "stream_html",
]

HEARTBEAT = ": heartbeat\n\n"
_PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One server-sent event (WHATWG HTML, section 9.2). A browser that reconnects sends the last `id`; "" for none."""

    data: object
    name: str = ""
    id: str = ""

    def __str__(self) -> str:
        lines = [f"event: {self.name}"] if self.name else []
        lines += [f"id: {self.id}"] if self.id else []
        return "\n".join([*lines, f"data: {json.dumps(self.data)}", "", ""])


class PassThroughBody:
    """The body of an API's response, passed on to the browser piece by piece. `close` closes the API's connection.

    The first piece is read at once, because servers send the headers with it. So the session cookie in the headers is
    chosen just before they are sent. Raises ApiUnavailable if the API stops sending, at first or later. If later, the
    server breaks the browser's connection too.
    """

    def __init__(self, response: Response, *, decoded: bool) -> None:
        self._response = response
        self._decoded = decoded
        self._next = self._read()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece, self._next = self._next or self._read(), b""
        if not piece:
            raise StopIteration
        return piece

    def _read(self) -> bytes:
        try:
            return bytes(self._response.raw.read1(_PIECE_BYTES, decode_content=self._decoded))
        except (HTTPError, ValueError) as error:
            # A chunk with an invalid length raises a ValueError.
            self._response.close()
            # The server logs this error with its causes, and those quote the response.
            raise ApiUnavailable(f"the response breaks off: {describe_failure(error)}") from None

    def close(self) -> None:
        self._response.close()


class PassThroughEvents:
    """The API's event stream, passed on to the browser line by line, with heartbeats. `close` closes the connection.

    The headers are sent at once, because the first event may take hours. Raises ApiUnavailable if the stream breaks
    off, so the server breaks the browser's connection too. If the session ends, the stream ends within a minute and the
    time until the next event or heartbeat, and the browser reconnects and gets the 401. At a shutdown of the site the
    stream ends too, after a whole event.
    """

    def __init__(self, response: Response, browser: BrowserSession) -> None:
        # Thousands of these may be open, so the rest of the response is not kept.
        self._body = response.raw
        self._browser = browser

    def __iter__(self) -> Iterator[bytes]:
        # Lines without an empty line after them, because an empty line would complete an event of the API.
        yield retry_line(RECONNECT_SECONDS).encode()
        line_end, text, departure = b"\n", b"\n\n", Departure()
        try:
            for piece in read_events(self._body, LINE_END):
                self._browser.check_while_streaming()
                text = (text + (piece or b""))[-4:]
                if piece is None:
                    yield b":"  # in two writes, as in `_events`
                    yield b" heartbeat" + line_end
                else:
                    yield piece
                    # After CR, an LF may follow that belongs to it.
                    line_end = piece[-1:]
                if departure.is_due() and text.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")):
                    return
        except ApiUnavailable as error:
            yield retry_line(error.retry_after).encode()
            raise
        except SignInRequired:
            return

    def close(self) -> None:
        self._body.close()
        self._body.release_conn()


def stream_html(request: ApiRequest, parts: Iterable[str]) -> StreamingHttpResponse:
    """Send a page piece by piece. A session update goes where a part has `{% session_update %}`, else at the end.

    The first part is made before the headers, so that these fit what it shows: messages and the user. An error in it
    gets the same response as an error in the view. If the session ends or the API fails later, the page ends with an
    explanation, and the log has the cause.
    """
    # The script that posts the update needs the CSRF cookie, and cookies are sent with the headers.
    get_token(request)
    parts = iter(parts)
    return stream(_html(request, next(parts, ""), parts), "text/html; charset=utf-8")


def stream_events(request: ApiRequest, events: Iterable[Event | str]) -> StreamingHttpResponse:
    """Send server-sent events. A session update follows the event during which the session rotated.

    At a shutdown of the site the stream ends after an event or heartbeat, and the browser reconnects.

    If the session ends or the API fails on the way, an event named `failure` ends the stream, and the log has the
    cause. An EventSource then reconnects, unless the session is over or the API refuses the call (a 4xx).
    """
    get_token(request)
    # An async generator raises a TypeError here, and not in the body.
    return stream(_events(request, iter(events)), EVENT_STREAM)


def api_events(request: ApiRequest, path: str, **options: Any) -> Iterator[str]:
    """The events of the API's event stream at `path`, for `stream_events`; a heartbeat while the API is quiet.

    The call begins at once, with the browser's Last-Event-ID and the `options` of `request.api.get`. Raises as that
    does, requests.HTTPError for a 4xx, and ApiMisbehaved for a response that is no event stream.
    """
    headers = {**EVENT_STREAM_HEADERS, **options.pop("headers", {})}
    if last := request.headers.get("Last-Event-ID"):
        headers.setdefault("Last-Event-ID", last)
    response = request.api.get(path, headers=headers, stream=True, **options)
    if response.status_code == 204:
        response.close()
        return iter([OVER])
    if not is_event_stream(response):
        response.close()
        response.raise_for_status()
        raise ApiMisbehaved(f"status {response.status_code}: no event stream")
    return _api_events(response.raw)


def session_update(request: ApiRequest) -> SafeString:
    """`<session-update>` if the session has rotated since the last response or update, else ""."""
    update = request.api_session.session_update()
    if not update:
        return mark_safe("")
    return format_html(
        '<session-update session="{}" action="{}" csrf="{}"></session-update>',
        update,
        reverse("accounts:session-update"),
        get_token(request),
    )


def stream(body: Iterator[str], content_type: str) -> StreamingHttpResponse:
    """Send each piece of `body` at once, and ask proxies not to buffer it."""
    return StreamingHttpResponse(body, content_type=content_type, headers=STREAM_HEADERS)


def _html(request: ApiRequest, first: str, others: Iterator[str]) -> Iterator[str]:
    yield first
    try:
        for part in others:
            request.api_session.check_age()
            yield part
    except (AccountsError, RequestException) as error:
        _log(request, error)
        context = {"switch_url": switch_url(request)}
        if isinstance(error, SignInRequired):
            context |= {"login": sign_in_url(request, error), "why": why_required(error)}
        yield render_to_string("stream_ended.html", context)
    yield session_update(request)


def _events(request: ApiRequest, events: Iterable[Event | str]) -> Iterator[str]:
    yield retry_line(RECONNECT_SECONDS)
    departure = Departure()
    try:
        for event in events:
            request.api_session.check_while_streaming()
            text = str(event)
            if text == HEARTBEAT:
                # A browser that has left breaks the connection at the first write. The second one notices it.
                yield text[:1]
                text = text[1:]
            yield text
            yield _session_update_event(request)
            if departure.is_due():
                return
    except (AccountsError, RequestException) as error:
        _log(request, error)
        yield _failure(request, error)
    yield _session_update_event(request)


def _failure(request: ApiRequest, error: AccountsError | RequestException) -> str:
    """The last event. Its name is not `error`: an EventSource has events of this name for broken connections."""
    seconds = seconds_until_retry(error)
    if isinstance(error, SignInRequired):
        data = {"detail": why_required(error), "login": sign_in_url(request, error)}
    elif seconds is None:
        data = {"detail": "The service behind this site has refused this."}
    else:
        data = {"detail": "The service behind this site is not answering."}
    return f"{Event(name='failure', data=data)}{OVER if seconds is None else retry_line(seconds)}"


def _api_events(body: HTTPResponse) -> Iterator[str]:
    try:
        for piece in read_events(body, EVENT_END):
            yield HEARTBEAT if piece is None else piece.decode(errors="replace")
    finally:
        body.close()
        body.release_conn()


def _session_update_event(request: ApiRequest) -> str:
    update = request.api_session.session_update()
    return str(Event(name="session-update", data={"session": update})) if update else ""


def _log(request: ApiRequest, error: AccountsError | RequestException) -> None:
    if isinstance(error, AccountsError):
        cause = str(error)
    else:
        # The error's own text quotes the API's text, and the address with its query.
        cause = "no response" if error.response is None else f"status {error.response.status_code}"
    logger.error("%s %r: the stream ended early: %s: %s", request.method, request.path, type(error).__name__, cause)
