"""The deployed site as the command asks it: orders to its endpoint, and its responses."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
from django.urls import reverse

from accounts.browser.client_address import is_private
from accounts.doctor.endpoint import TICKET_HEADER, Order, Ticket
from accounts.doctor.findings import Finding, ok, problem
from accounts.doctor.network import clock_difference, request

_MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class SiteResponse:
    """`seen` is how the site saw the request, {} for a response that is not the endpoint's."""

    status: int
    location: str = field(repr=False)
    set_cookies: list[str] = field(repr=False)
    clock_difference: float | None
    seen: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeployedSite:
    """The site at `url`, and its first response."""

    url: str
    first: SiteResponse

    @property
    def is_in_development(self) -> bool:
        """Whether DEBUG is on there, and strangers cannot reach it."""
        return bool(self.first.seen["debug"]) and is_private(urlsplit(self.url).hostname or "")

    def problem(self, name: str, found: str, advice: str) -> Finding:
        """A problem in production. In development it is ok."""
        return ok(name, found, advice) if self.is_in_development else problem(name, found, advice)


def send_order(url: str, order: Order, *, size: int = 0, headers: Mapping[str, str] | None = None) -> SiteResponse:
    """Send an order to the site at `url`. Raises TROUBLE."""
    sent_at = time.time()
    with open_order(url, order, size=size, headers=headers) as response:
        difference = clock_difference(response.headers.get("Date"), sent_at=sent_at, received_at=time.time())
        cookies, location = response.raw.headers.getlist("Set-Cookie"), response.headers.get("Location", "")
        body: Any = None
        with suppress(ValueError, RecursionError):
            body = json.loads(response.raw.read(_MAX_BODY_BYTES, decode_content=True))
        seen = body if response.status_code == 200 and isinstance(body, dict) and "doctor" in body else {}
        return SiteResponse(response.status_code, location, cookies, difference, seen)


@contextmanager
def open_order(
    url: str, order: Order, *, size: int = 0, headers: Mapping[str, str] | None = None
) -> Iterator[requests.Response]:
    """The response to an order, with an unread body. Raises TROUBLE."""
    ticket = {TICKET_HEADER: Ticket(order, size).seal()}
    with request("POST", url + reverse("accounts:doctor"), headers={**ticket, **(headers or {})}) as response:
        yield response
