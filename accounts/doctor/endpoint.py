"""The part of the doctor that runs on the site: it says what a request looks like from there, sets large trial cookies,
and streams, so that the command sees from outside what the proxies in between make of it.

It answers to a ticket alone, which the command seals with the site's own keys and which is good for a minute. Whatever
else comes is told that there is nothing here. What a ticket orders touches no session, and its answer tells of its own
request alone, so one that somebody reads on its way gives nothing away.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
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
_TRIAL_COOKIE_SECONDS = 60
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


class Order(StrEnum):
    """What the command wants of the site."""

    LOOK = "look"
    SET_COOKIES = "set cookies"
    DELETE_COOKIES = "delete cookies"
    STREAM_PAGE = "stream a page"
    STREAM_EVENTS = "stream events"


@dataclass(frozen=True, slots=True)
class Ticket:
    """An order, and the size in bytes of the session that the trial cookies stand for."""

    order: Order
    size: int = 0

    def seal(self) -> str:
        return seal(Purpose.DOCTOR, json.dumps([time.time(), self.order, self.size]).encode())

    @classmethod
    def open(cls, text: str) -> "Ticket":
        """Raises CannotOpen, also for one that is more than 60 seconds old."""
        data = open_sealed(Purpose.DOCTOR, text)
        try:
            sealed_at, order, size = json.loads(data)
            ticket = cls(Order(order), int(size))
            if abs(time.time() - sealed_at) <= TICKET_SECONDS and 0 <= ticket.size <= MAX_SESSION_BYTES:
                return ticket
        except (ValueError, TypeError) as error:
            # Sealed by another release.
            raise CannotOpen from error
        raise CannotOpen


def trial_cookies(size: int, cookie_name: str) -> dict[str, str]:
    """Cookies like those of a session of `size` bytes.

    Their names begin with that of the session's, as a proxy may treat it in a way of its own, and no session has them.
    """
    return split_cookie("".join(islice(cycle(_ALPHABET), size)), f"{cookie_name}-doctor") if size else {}


@csrf_exempt  # no browser can be made to send the ticket
@never_cache
def doctor(request: HttpRequest) -> HttpResponseBase:
    """POST with a ticket; 404 for everything else."""
    try:
        ticket = Ticket.open(request.headers.get(TICKET_HEADER, ""))
    except CannotOpen:
        ticket = None
    if ticket is None or request.method != "POST":
        raise Http404
    if ticket.order is Order.STREAM_PAGE:
        return stream(_pieces("<p>piece {}</p>\n"), "text/html; charset=utf-8")
    if ticket.order is Order.STREAM_EVENTS:
        return stream(_pieces("data: piece {}\n\n"), "text/event-stream")
    response = JsonResponse(_what_was_seen(request, ticket))
    if ticket.order in (Order.SET_COOKIES, Order.DELETE_COOKIES):
        _write_trial_cookies(response, ticket)
    return response


def _what_was_seen(request: HttpRequest, ticket: Ticket) -> Mapping[str, object]:
    """The request as it arrived, and what the site makes of it."""
    forwarded = request.headers.get("X-Forwarded-For", "").split(",")
    expected = trial_cookies(ticket.size, conf.cookie_name)
    return {
        "doctor": 1,
        "secure": request.is_secure(),
        "host": request.get_host(),
        "address": client_address(request),
        "forwarded_for": sum(bool(entry.strip()) for entry in forwarded),
        "forwarded_proto": clean_text(request.headers.get("X-Forwarded-Proto"), 40),
        "cookies_arrived": [name for name, value in expected.items() if request.COOKIES.get(name) == value],
        "debug": settings.DEBUG,
        "trusted_proxies": conf.trusted_proxy_count,
        "cookie_name": conf.cookie_name,
        "cookie_secure": conf.cookie_secure,
        "cookie_samesite": conf.cookie_samesite,
        "keys": key_ids(),
    }


def _write_trial_cookies(response: HttpResponse, ticket: Ticket) -> None:
    """As the session's are written."""
    for name, value in trial_cookies(ticket.size, conf.cookie_name).items():
        if ticket.order is Order.SET_COOKIES:
            set_cookie(response, name, value, _TRIAL_COOKIE_SECONDS)
        else:
            set_cookie(response, name, "", 0)


def _pieces(form: str) -> Iterator[str]:
    for number in range(1, PIECES + 1):
        if number > 1:
            time.sleep(PIECE_INTERVAL_SECONDS)
        yield form.format(number)
