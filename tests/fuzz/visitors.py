"""Browsers that are signed in already, and what may come out of the site for them."""

import json
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.test.client import ClientHandler

from accounts.browser.cookies import MAX_COOKIE_BYTES
from accounts.models import SessionRecord
from accounts.session.api_session import ApiSession
from accounts.session.tokens import TokenPair, User
from tests.browsers import Browser

ACCESS = "the-access-token-of-ada"
REFRESH = "the-refresh-token-of-ada"
#: What the API gives for them.
NEXT_ACCESS = "the-next-access-token"
NEXT_REFRESH = "the-next-refresh-token"
PASSWORD = "tide-table-of-ada"
#: It opens /metrics.
METRICS_TOKEN = "the-token-of-the-metrics"
SECRETS = (ACCESS, REFRESH, NEXT_ACCESS, NEXT_REFRESH, PASSWORD, METRICS_TOKEN)
NEW_PAIR = json.dumps({"accessToken": NEXT_ACCESS, "refreshToken": NEXT_REFRESH}).encode()

#: What no answer is without.
EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
REQUEST_ID = re.compile("[A-Za-z0-9_-]{1,64}")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110 section 5.5.
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


@dataclass(frozen=True)
class Visit:
    """An answer, read to its end."""

    status: int
    headers: dict[str, str]
    cookies: dict[str, str]
    body: bytes

    @property
    def deletes_session(self) -> bool:
        return self.cookies.get(settings.API_SESSION_COOKIE_NAME) == ""


def new_session() -> ApiSession:
    """Ada's, with a record, and tokens that do not say when they expire."""
    pair = TokenPair(
        access=ACCESS, refresh=REFRESH, received_at=time.time(), access_expires_at=None, refresh_expires_at=None
    )
    session = ApiSession.begin(User(id=7, name="Ada", email="ada@example.com"), pair)
    SessionRecord.objects.begin(session, address="", user_agent="")
    return session


#: All browsers share it: WhiteNoise looks up each static file anew for every one that is made.
_HANDLER = ClientHandler(enforce_csrf_checks=False)


def new_browser(cookies: dict[str, str] | None = None) -> Browser:
    """A browser with these cookies."""
    browser = Browser(cookies)
    browser.client.handler = _HANDLER
    return browser


def signed_in() -> Browser:
    """A browser with a new session of Ada's."""
    return new_browser({settings.API_SESSION_COOKIE_NAME: new_session().seal_for_cookie()})


def read(response: Any, statuses: Collection[int]) -> Visit:
    """Read an answer to its end. Fails unless it has one of `statuses`, can be sent, and holds no secret.

    Nor does any lack its security headers and its id.
    """
    body = b"".join(response.streaming_content) if response.streaming else response.content
    headers = dict(response.items())
    visit = Visit(response.status_code, headers, {name: each.value for name, each in response.cookies.items()}, body)
    assert visit.status in statuses, f"{visit.status}: {visit.body[:500]!r}"
    for name, value in headers.items():
        assert _TOKEN.fullmatch(name), name
        assert _VALUE.fullmatch(value), (name, value)
    assert re.fullmatch("[0-9]*", headers.get("Content-Length", "")), headers
    for cookie in response.cookies.values():
        assert len(cookie.OutputString()) <= MAX_COOKIE_BYTES, cookie.key
        assert _VALUE.fullmatch(cookie.OutputString()), cookie.key
    assert {name: headers.get(name) for name in EVERYWHERE} == EVERYWHERE
    assert REQUEST_ID.fullmatch(headers["X-Request-ID"])
    assert not [secret for secret in SECRETS if secret.encode() in body or secret in str(headers)]
    return visit
