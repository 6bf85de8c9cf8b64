"""The doctor's endpoint on the site: it reports how a request arrives, sets large trial cookies, and streams, so that
the command sees from outside what the proxies change.

It accepts only a ticket that the command has sealed with the site's own keys. An order touches no session, and its
response describes its own request only, so an eavesdropper learns nothing from it.
"""

import errno
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponseBase, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from accounts.browser.client_address import client_address
from accounts.browser.cookies import MAX_SESSION_BYTES, set_cookie, split_cookie
from accounts.conf import conf
from accounts.session.sealing import CannotOpen, Purpose, key_ids, open_sealed, seal
from accounts.streaming import stream
from accounts.text import clean_text

TICKET_HEADER = "Doctor-Ticket"
TICKET_SECONDS = 60.0
PIECES = 5
PIECE_INTERVAL_SECONDS = 0.3
TRIAL_SUFFIX = "-doctor"
_TRIAL_COOKIE_SECONDS = 60
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


class Order(StrEnum):
    LOOK = "look"
    SET_COOKIES = "set cookies"
    DELETE_COOKIES = "delete cookies"
    STREAM_PAGE = "stream a page"
    STREAM_EVENTS = "stream events"
    CUT_STREAM = "cut a stream"


@dataclass(frozen=True, slots=True)
class Ticket:
    """`size` is that of the session, in bytes, whose cookies the trial cookies imitate."""

    order: Order
    size: int = 0

    def seal(self) -> str:
        return seal(Purpose.DOCTOR, json.dumps([time.time(), self.order, self.size]).encode())

    @classmethod
    def open(cls, text: str) -> "Ticket":
        """Raises CannotOpen, also for one that is more than 60 seconds old."""
        data = open_sealed(Purpose.DOCTOR, text)
        with suppress(ValueError, TypeError):
            # A ticket that another release sealed can have another shape.
            sealed_at, order, size = json.loads(data)
            ticket = cls(Order(order), int(size))
            if abs(time.time() - sealed_at) <= TICKET_SECONDS and 0 <= ticket.size <= MAX_SESSION_BYTES:
                return ticket
        raise CannotOpen


def trial_cookies(size: int, cookie_name: str) -> dict[str, str]:
    """Cookies like those of a session of `size` bytes.

    A proxy may treat the session's cookies by name, so the names begin like theirs. No session has these names.
    """
    text = (_ALPHABET * (size // len(_ALPHABET) + 1))[:size]
    return split_cookie(text, cookie_name + TRIAL_SUFFIX) if size else {}


@login_not_required
@csrf_exempt  # a page cannot make a browser send the ticket
@never_cache
def doctor(request: HttpRequest) -> HttpResponseBase:
    """POST with a ticket; 404 for everything else."""
    try:
        ticket = Ticket.open(request.headers.get(TICKET_HEADER, "") if request.method == "POST" else "")
    except CannotOpen as error:
        raise Http404 from error
    if ticket.order is Order.STREAM_PAGE:
        return stream(_pieces("<p>piece {}</p>\n"), "text/html; charset=utf-8")
    if ticket.order is Order.STREAM_EVENTS:
        return stream(_pieces("data: piece {}\n\n"), "text/event-stream")
    if ticket.order is Order.CUT_STREAM:
        return stream(_cut_pieces(), "text/html; charset=utf-8")
    cookies = trial_cookies(ticket.size, conf.cookie_name)
    response = JsonResponse(_describe(request, cookies))
    for name, value in cookies.items():
        if ticket.order is Order.SET_COOKIES:
            set_cookie(response, name, value, _TRIAL_COOKIE_SECONDS)
        elif ticket.order is Order.DELETE_COOKIES:
            set_cookie(response, name, "", 0)
    return response


def _describe(request: HttpRequest, cookies: Mapping[str, str]) -> Mapping[str, object]:
    """The request as it arrived, and the settings that decide what the site makes of it."""
    forwarded = request.headers.get("X-Forwarded-For", "").split(",")
    return {
        "doctor": 1,
        "secure": request.is_secure(),
        "host": request.get_host(),
        "address": client_address(request),
        "forwarded_for": sum(bool(entry.strip()) for entry in forwarded),
        "forwarded_proto": clean_text(request.headers.get("X-Forwarded-Proto"), 40),
        "cookies_arrived": [name for name, value in cookies.items() if request.COOKIES.get(name) == value],
        "debug": settings.DEBUG,
        "trusted_proxies": conf.trusted_proxy_count,
        "cookie_name": conf.cookie_name,
        "cookie_secure": conf.cookie_secure,
        "cookie_samesite": conf.cookie_samesite,
        "keys": key_ids(),
    }


def _pieces(form: str) -> Iterator[str]:
    for number in range(1, PIECES + 1):
        if number > 1:
            time.sleep(PIECE_INTERVAL_SECONDS)
        yield form.format(number)


def _cut_pieces() -> Iterator[str]:
    """A stream that breaks off. gunicorn logs other errors than those of a connection."""
    yield "<p>piece 1</p>\n"
    time.sleep(PIECE_INTERVAL_SECONDS)
    raise BrokenPipeError(errno.EPIPE, "the doctor asked for a stream that breaks off")
