"""Session updates from a streamed page, and how a script posts them."""

import base64
import json
import re

from django.http import HttpResponse

from tests.browsers import Browser, cookies_set
from tests.demo_api.server import DemoApi

ENDPOINT = "/accounts/session/update/"


def session_update(browser: Browser, api: DemoApi) -> str:
    """The session update of a streamed page during which the session rotated. The browser has not posted it."""
    api.expire_access_tokens()
    page = b"".join(browser.get("/protected/stream/?rows=1&delay=0")).decode()
    (text,) = re.findall(r'<session-update session="([^"]+)"', page)
    return str(text)


def post(browser: Browser, text: object, **options: str) -> HttpResponse:
    return post_raw(browser, json.dumps({"session": text}).encode(), **options)


def post_raw(browser: Browser, body: bytes, **options: str) -> HttpResponse:
    return browser.post(ENDPOINT, body, content_type="application/json", **options)


def flip_bit(text: str, at: int) -> str:
    raw = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    raw[at] ^= 0x01
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def assert_refused(response: HttpResponse) -> None:
    """400 with `detail`, and no cookie changes."""
    assert response.status_code == 400
    assert list(json.loads(response.content)) == ["detail"]
    assert not cookies_set(response)
    assert response["Cache-Control"] == "private, no-store"
