"""Streamed responses: the session may rotate after the headers were sent, so the body carries the session update.

HTML carries `<session-update>`, whose script posts the update to the deferred-update endpoint. An event stream sends
an event named `session-update`. An update that never arrives is not lost: the next request adopts it from the record.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.http import StreamingHttpResponse
from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from requests import RequestException, Response
from urllib3.exceptions import HTTPError

from accounts.api_client import ApiRequest
from accounts.browser.error_responses import sign_in_url
from accounts.exceptions import AccountsError, ApiUnavailable, SignInRequired

logger = logging.getLogger(__name__)

#: Proxies close connections that are silent for long.
HEARTBEAT_SECONDS = 10.0
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
            raise ApiUnavailable("the response breaks off") from error

    def close(self) -> None:
        self._response.close()


def stream_html(request: ApiRequest, parts: Iterable[str]) -> StreamingHttpResponse:
    """Send a page piece by piece. A session update goes where a part has `{% session_update %}`, else at the end.

    If the session ends or the API fails on the way, the page ends with an explanation, and the log has the cause.
    """
    # The script that posts the update needs the CSRF cookie, and cookies are sent with the headers.
    get_token(request)
    return stream(_html(request, parts), "text/html; charset=utf-8")


def stream_events(request: ApiRequest, events: Iterable[Event | str]) -> StreamingHttpResponse:
    """Send server-sent events. A session update follows the event during which the session rotated.

    If the session ends or the API fails on the way, an event named `error` ends the stream, and the log has the cause.
    """
    get_token(request)
    return stream(_events(request, events), "text/event-stream")


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
    # Nginx holds the pieces back until its buffer is full, unless X-Accel-Buffering turns that off.
    headers = {"X-Accel-Buffering": "no", "Cache-Control": "private, no-store, no-transform"}
    return StreamingHttpResponse(body, content_type=content_type, headers=headers)


def _html(request: ApiRequest, parts: Iterable[str]) -> Iterator[str]:
    try:
        yield from parts
    except (AccountsError, RequestException) as error:
        _log(request, error)
        login = sign_in_url(request, error) if isinstance(error, SignInRequired) else ""
        yield render_to_string("stream_ended.html", {"login": login})
    yield session_update(request)


def _events(request: ApiRequest, events: Iterable[Event | str]) -> Iterator[str]:
    try:
        for event in events:
            yield str(event)
            yield _session_update_event(request)
    except (AccountsError, RequestException) as error:
        _log(request, error)
        if isinstance(error, SignInRequired):
            data = {"detail": "Your session has ended.", "login": sign_in_url(request, error)}
        else:
            data = {"detail": "The service behind this site is not answering."}
        yield str(Event(name="error", data=data))
    yield _session_update_event(request)


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
