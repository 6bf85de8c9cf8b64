"""The command's side of the endpoint: orders that are sent to the deployed site, and what comes back."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
from django.urls import reverse

from accounts.browser.client_address import is_private
from accounts.doctor.endpoint import TICKET_HEADER, Order, Ticket
from accounts.doctor.network import ask

_MAX_ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came of an order. `seen` is what the site told, {} where something else answered.

    `sent_at` and `received_at` are time.time() around the exchange.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    set_cookies: list[str] = field(repr=False)
    seen: Mapping[str, Any] = field(repr=False)
    sent_at: float
    received_at: float


@dataclass(frozen=True, slots=True)
class Visit:
    """The site at `url`, and how it saw the first request."""

    url: str
    first: Reply

    @property
    def debug(self) -> bool:
        """Whether it is a developer's: one with DEBUG on that strangers cannot reach."""
        return bool(self.first.seen["debug"]) and is_private(urlsplit(self.url).hostname or "")

    @property
    def cookie_name(self) -> str:
        """Of the session cookie there."""
        return str(self.first.seen["cookie_name"])


def send(url: str, order: Order, *, size: int = 0, headers: Mapping[str, str] | None = None) -> Reply:
    """Send an order to the site at `url`. Raises TROUBLE."""
    sent_at = time.time()
    with sent(url, order, size=size, headers=headers) as response:
        received_at = time.time()
        body = response.raw.read(_MAX_ANSWER_BYTES, decode_content=True)
        return Reply(
            status=response.status_code,
            headers=response.headers,
            set_cookies=response.raw.headers.getlist("Set-Cookie"),
            seen=_seen(body) if response.status_code == 200 else {},
            sent_at=sent_at,
            received_at=received_at,
        )


@contextmanager
def sent(
    url: str, order: Order, *, size: int = 0, headers: Mapping[str, str] | None = None
) -> Iterator[requests.Response]:
    """The answer to an order, whose body is left to be read. Raises TROUBLE."""
    ticket = {TICKET_HEADER: Ticket(order, size).seal()}
    with ask("POST", url + reverse("accounts:doctor"), headers={**ticket, **(headers or {})}) as response:
        yield response


def _seen(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) and "doctor" in value else {}
