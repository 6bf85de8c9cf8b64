"""The steps of a person who signs in at the provider."""

import html
import re
from urllib.parse import parse_qsl, urlsplit

from accounts.dialects import discovery as documents
from tests.browsers import Answer, Browser
from tests.load.browser import Browser as RealBrowser
from tests.real_apis.visitor import Visitor

PAGE = "/protected/"
CALLBACK = "/accounts/callback/"
PROVIDERS_SIGN_OUT = "/accounts/logout/provider/"

#: The heading of the page for a sign-in that came to nothing.
FAILED = "You are not signed in"


def press_button(browser: Browser, wanted: str = PAGE) -> Answer:
    """The button of the sign-in page."""
    return browser.post("/accounts/login/", {"next": wanted})


def begin(browser: Browser, wanted: str = PAGE) -> str:
    """Press the button; where at the provider it leads to."""
    answer = press_button(browser, wanted)
    assert answer.status_code == 302, f"status {answer.status_code}"
    return answer["Location"]


class Person(RealBrowser):
    """The same over real sockets."""

    def begin(self, wanted: str = PAGE) -> str:
        """Press the button of the sign-in page; where it leads to."""
        self.open("/accounts/login/")
        answer = self.post("/accounts/login/", {"next": wanted, "csrfmiddlewaretoken": self.jar.value("csrftoken")})
        assert answer.status == 302, f"{answer}"
        return answer.header("Location")


def walk(url: str, visitor: Visitor | None = None) -> str:
    """Do what the provider's pages ask; where on our site they lead to in the end."""
    return own_path((visitor or Visitor()).follow(url))


def sign_in_at_provider(browser: Browser, wanted: str = PAGE, visitor: Visitor | None = None) -> Answer:
    """All of it; the answer to the browser's return."""
    return browser.get(walk(begin(browser, wanted), visitor))


def own_path(url: str) -> str:
    """An address of ours, without scheme and host."""
    parts = urlsplit(url)
    assert parts.netloc in ("", "testserver"), f"not on our site: {parts.netloc}"
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def query_of(url: str) -> dict[str, str]:
    """What an address tells, each parameter once."""
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    assert len(dict(pairs)) == len(pairs), "a parameter is there twice"
    return dict(pairs)


def without(path: str, *names: str) -> str:
    """An address without these parameters."""
    parts = urlsplit(path)
    return parts.path + "?" + "&".join(pair for pair in parts.query.split("&") if pair.split("=")[0] not in names)


def sign_in_cookies(browser: Browser) -> dict[str, str]:
    """Those of the sign-ins under way."""
    return {name: value for name, value in browser.take().items() if "session-sign-in-" in name}


def whoami(browser: Browser) -> str | None:
    """The name of who is signed in; None for nobody."""
    user = browser.get("/accounts/session/").json()["user"]
    return str(user["name"]) if user else None


def forget_documents() -> None:
    """What a restart of the site does to what it knows of its provider."""
    documents._discovery.cache_clear()
    documents._document.cache_clear()


def shown(answer: Answer) -> str:
    """The text of a page, as a person reads it."""
    main = answer.text.partition("<main")[2].partition("</main>")[0]
    return html.unescape(re.sub(r"(<[^>]*>|\s)+", " ", main))
