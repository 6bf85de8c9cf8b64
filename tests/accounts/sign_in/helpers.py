"""Helpers for the tests of the sign-in: targets for `next`, bodies that the API received, the user."""

import json

from tests.browsers import Browser
from tests.demo_api.server import DemoApi

OWN_PLACES = {
    "a path": "/protected/?rows=3#end",
    "a path in other letters": "/protected/ä/?q=%2F",
    "our own address": "http://testserver/protected/",
    "the home page": "/",
}
FOREIGN_PLACES = {
    "another host without a scheme": "//evil.example",
    "three slashes": "///evil.example",
    "another host": "https://evil.example/protected/",
    "a script": "javascript:alert(1)",
    "a script in capitals": "JaVaScRiPt:alert(1)",
    "data": "data:text/html,hello",
    "backslashes": r"\\evil.example",
    "slash and backslash": r"/\evil.example",
    "backslash and slash": r"\/evil.example",
    "a tab between the slashes": "/\t/evil.example",
    "a line break between the slashes": "/\n/evil.example",
    "a space first": " //evil.example",
    "a control character first": "\x08//evil.example",
    "no slashes after the scheme": "https:evil.example",
    "a scheme and three slashes": "https:///evil.example",
    "our name as user": "https://testserver@evil.example/",
    "our name as a part": "http://testserver.evil.example/",
    "an address that is none": "http://[::1",
    "another port": "http://testserver:81/",
    "too long to be meant": "/" + "a" * 5000,
}


def sent_to(api: DemoApi, path: str) -> list[dict[str, str]]:
    """The JSON bodies that the API received at `path`."""
    return [json.loads(call.body) for call in api.calls if call.path == path]


def signed_in_email(browser: Browser) -> str | None:
    """The email of the user of this browser; None if not signed in."""
    user = browser.get("/accounts/session/").json()["user"]
    return user["email"] if user else None
