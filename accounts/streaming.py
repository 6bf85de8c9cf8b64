"""Streamed answers: their headers have left before the session rotates, so the body carries it back to the browser.

HTML carries `<session-update>`, whose script posts the hand-off to the deferred-update endpoint; an event stream sends
an event named `session-update`. What never arrives is not lost: the record holds it, and the next request adopts it.
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

from accounts.api import ApiRequest
from accounts.browser.error_responses import sign_in_url
from accounts.exceptions import AccountsError, ApiUnavailable, SignInRequired

logger = logging.getLogger(__name__)

#: Proxies drop connections on which nothing is said for long.
HEARTBEAT_SECONDS = 10.0
_PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One server-sent event (WHATWG HTML, section 9.2). `id` is what a browser resumes from; "" for none."""

    data: object
    name: str = ""
    id: str = ""

    def __str__(self) -> str:
        lines = [f"event: {self.name}"] if self.name else []
        lines += [f"id: {self.id}"] if self.id else []
        return "\n".join([*lines, f"data: {json.dumps(self.data)}", "", ""])


class PassThroughBody:
    """The body of an API's answer on its way to the browser, as it comes. Closing it gives the connection up.

    Servers send the headers with the first piece. It is read at once, so that a session cookie among them is decided
    when they leave, and not long before. Raises ApiUnavailable where the API has stopped by then, or stops later on:
    then the server breaks the browser's connection off too.
    """

    def __init__(self, answer: Response, *, decoded: bool) -> None:
        self._answer = answer
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
            return bytes(self._answer.raw.read1(_PIECE_BYTES, decode_content=self._decoded))
        except (HTTPError, ValueError) as error:
            # A ValueError, where chunks are said to have a length that is none.
            self._answer.close()
            raise ApiUnavailable("the answer breaks off") from error

    def close(self) -> None:
        self._answer.close()


HEARTBEAT = ": heartbeat\n\n"


def stream_html(request: ApiRequest, parts: Iterable[str]) -> StreamingHttpResponse:
    """Send a page piece by piece. A rotated session goes where a piece has `{% session_update %}`, else at the end.

    Where the session ends or the API fails on the way, the page ends with words, and the log has the cause.
    """
    # The script that posts the hand-off needs the cookie that belongs to its token, and cookies leave with the headers.
    get_token(request)
    return stream(_html(request, parts), "text/html; charset=utf-8")


def stream_events(request: ApiRequest, events: Iterable[Event | str]) -> StreamingHttpResponse:
    """Send server-sent events. A rotated session follows the event in whose making it was rotated.

    Where the session ends or the API fails on the way, the last event is named `error`, and the log has the cause.
    """
    get_token(request)
    return stream(_events(request, events), "text/event-stream")


def session_update(request: ApiRequest) -> SafeString:
    """`<session-update>` with the hand-off, where the session has rotated since the browser was last told; else ""."""
    hand_off = request.api_session.session_update()
    if not hand_off:
        return mark_safe("")
    return format_html(
        '<session-update session="{}" action="{}" csrf="{}"></session-update>',
        hand_off,
        reverse("accounts:session-update"),
        get_token(request),
    )


def stream(body: Iterator[str], content_type: str) -> StreamingHttpResponse:
    """Send what `body` yields as it comes, past the buffers of proxies that can be asked to stand aside."""
    # Nginx and its like would hold the pieces back until they have a bufferful.
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
    hand_off = request.api_session.session_update()
    return str(Event(name="session-update", data={"session": hand_off})) if hand_off else ""


def _log(request: ApiRequest, error: AccountsError | RequestException) -> None:
    if isinstance(error, AccountsError):
        why = str(error)
    else:
        # Its own words quote the API's, and the address with its query.
        why = "no answer" if error.response is None else f"status {error.response.status_code}"
    logger.error("%s %r: the stream ended early: %s: %s", request.method, request.path, type(error).__name__, why)
