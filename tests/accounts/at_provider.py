"""The steps of a sign-in at the provider."""

import html
import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
from django.db import connection

from accounts.dialects import discovery
from tests.browsers import Answer, Browser
from tests.demo_api.messages import Call
from tests.load.browser import Browser as RealBrowser
from tests.real_apis.visitor import Visitor

PAGE = "/protected/"
CALLBACK = "/accounts/callback/"
PROVIDERS_SIGN_OUT = "/accounts/logout/provider/"

#: The heading of the page for a failed sign-in.
FAILED = "You are not signed in"


def press_button(browser: Browser, wanted: str = PAGE) -> Answer:
    """Press the button of the sign-in page."""
    return browser.post("/accounts/login/", {"next": wanted})


def begin(browser: Browser, wanted: str = PAGE) -> str:
    """Press the button. Returns the URL at the provider."""
    answer = press_button(browser, wanted)
    assert answer.status_code == 302, f"status {answer.status_code}"
    return answer["Location"]


class Person(RealBrowser):
    """A browser over real sockets."""

    def begin(self, wanted: str = PAGE) -> str:
        """Press the button of the sign-in page. Returns the URL at the provider."""
        self.open("/accounts/login/")
        answer = self.post("/accounts/login/", {"next": wanted, "csrfmiddlewaretoken": self.jar.csrf_token})
        assert answer.status == 302, f"{answer}"
        return answer.header("Location")


def walk(url: str, visitor: Visitor | None = None) -> str:
    """Follow the provider's pages. Returns the path on our site that they redirect to."""
    return own_path((visitor or Visitor()).follow(url))


def sign_in_at_provider(browser: Browser, wanted: str = PAGE, visitor: Visitor | None = None) -> Answer:
    """Sign in. Returns the response of the callback."""
    return browser.get(walk(begin(browser, wanted), visitor))


def own_path(url: str) -> str:
    """A URL of our site, without scheme and host."""
    parts = urlsplit(url)
    assert parts.netloc in ("", "testserver"), f"not on our site: {parts.netloc}"
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def query_of(url: str) -> dict[str, str]:
    """The query parameters of a URL, each of which occurs once."""
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    assert len(dict(pairs)) == len(pairs), "a parameter occurs twice"
    return dict(pairs)


def without(path: str, *names: str) -> str:
    """A URL without these parameters."""
    parts = urlsplit(path)
    return parts.path + "?" + "&".join(pair for pair in parts.query.split("&") if pair.split("=")[0] not in names)


def sign_in_cookies(browser: Browser) -> dict[str, str]:
    """The cookies of the pending authorization requests."""
    return {name: value for name, value in browser.take().items() if "session-sign-in-" in name}


def whoami(browser: Browser) -> str | None:
    """The name of the user; None if not signed in."""
    user = browser.get("/accounts/session/").json()["user"]
    return str(user["name"]) if user else None


def forget_documents() -> None:
    """Clear the cached documents of the provider, as a restart of the site does."""
    discovery._discovery.cache_clear()
    discovery._document.cache_clear()


def proof_of(call: Call) -> dict[str, Any]:
    """The claims of a call's DPoP proof; {} without one."""
    proof = call.headers.get("dpop", "")
    return jwt.decode(proof, options={"verify_signature": False}) if proof else {}


def without_nonce_requests(calls: Iterable[Call]) -> list[Call]:
    """Without those that only brought a nonce: the next call is the same one, with that nonce in its proof."""
    calls = list(calls)
    brought = [
        (call.method, call.path) == (after.method, after.path)
        and call.status in (400, 401)
        and proof_of(call).get("nonce") != proof_of(after).get("nonce")
        for call, after in pairwise(calls)
    ]
    return [call for call, is_brought in zip(calls, [*brought, False], strict=False) if not is_brought]


def skip_retry_pause() -> None:
    """End the pause after a failed refresh, in which the site does not call the API again."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_sessionrecord SET retry_at = NULL")


def shown(answer: Answer) -> str:
    """The text of a page without markup."""
    main = answer.text.partition("<main")[2].partition("</main>")[0]
    return html.unescape(re.sub(r"(<[^>]*>|\s)+", " ", main))
