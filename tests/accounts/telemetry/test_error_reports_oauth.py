"""No secret of a sign-in at the provider is ever in a log, on a page or in an e-mail."""

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import pytest
from django.core import mail
from django.db import connection
from pytest_django import Settings

from accounts.browser.id_token_hint import read_id_token_cookie
from tests.accounts.at_provider import (
    CALLBACK,
    PROVIDERS_SIGN_OUT,
    forget_documents,
    press_button,
    query_of,
    walk,
    without,
)
from tests.accounts.telemetry.test_error_reports import Everything, admins, as_text, html_of
from tests.browsers import Answer, Browser, records_away
from tests.demo_api.server import Fault
from tests.real_apis.apis import OAuthProvider
from tests.real_apis.oauth.client import CLIENT_SECRET
from tests.real_apis.visitor import Visitor

__all__ = ["admins"]

TOKEN, DISCOVERY, KEYS = "/o/token/", "/o/.well-known/openid-configuration", "/o/.well-known/jwks.json"
pytestmark = [pytest.mark.urls("tests.accounts.telemetry.test_error_reports"), pytest.mark.usefixtures("admins")]


@dataclass(repr=False)
class Witness:
    """Collects the secrets by kind, and the output by place."""

    provider: OAuthProvider
    browser: Browser
    everything: Everything
    pages: list[str] = field(default_factory=list)
    secrets: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def see(self, answer: Answer) -> int:
        """Note the page, and what came with it; its status."""
        # An address at the provider's is the browser's to know: it holds the state, or the ID token.
        headers = [f"{name}: {value}" for name, value in answer.headers.items() if name != "Location"]
        self.pages.append("\n".join([*headers, answer.content.decode()]))
        cookies = self.browser.take()
        self.secrets["a cookie"] |= {value for name, value in cookies.items() if name.startswith("session")}
        self.secrets["an ID token"].add(read_id_token_cookie(cookies))
        if "session" in cookies:
            tokens = self.browser.session().tokens
            self.secrets["a token"] |= {tokens.access, tokens.refresh}
        return answer.status_code

    def begin(self) -> str:
        """Press the button, and do what the provider's pages ask; where on our site they lead to."""
        answer = press_button(self.browser)
        assert self.see(answer) == 302
        asked = query_of(answer["Location"])
        self.secrets["a state"].add(asked["state"])
        self.secrets["a nonce"].add(asked["nonce"])
        back = self.walk(answer["Location"])
        self.secrets["a code"].add(query_of(back).get("code", ""))
        return back

    def walk(self, url: str, visitor: Visitor | None = None) -> str:
        """What a person does at the provider's is logged in this process, too, and no doing of the site's."""
        self.everything.setLevel(logging.CRITICAL)
        try:
            return walk(url, visitor)
        finally:
            self.everything.setLevel(logging.NOTSET)

    def finish(self, back: str) -> int:
        return self.see(self.browser.get(back))

    def sign_in(self) -> int:
        return self.finish(self.begin())

    def told(self) -> dict[str, list[str]]:
        mails = [part for message in mail.outbox for part in (message.subject, message.body, *html_of(message))]
        return {
            "the log": self.everything.heard[::2],
            "what a handler of one's own may log": self.everything.heard[1::2],
            "a page": self.pages,
            "a mail": [str(part) for part in mails],
            "a statement": [query["sql"] or "" for query in connection.queries_log],
        }

    def leaks(self) -> set[tuple[str, str]]:
        """Which kind of secret was told in which place. Long ones are looked for by both ends: reports cut them off."""
        for call in self.provider.calls:
            self.secrets["a token"].add(call.headers.get("authorization", "").removeprefix("Bearer "))
            if call.method == "POST" and call.path.startswith("/o/") and call.path != "/o/authorize/":
                form = dict(parse_qsl(call.body.decode()))
                self.secrets["a verifier"].add(form.get("code_verifier", ""))
                self.secrets["a token"] |= {form.get("refresh_token", ""), form.get("token", "")}
        self.secrets["the client's secret"] = {CLIENT_SECRET}
        ends = {
            (kind, end) for kind, values in self.secrets.items() for value in values - {""} for end in both_ends(value)
        }
        return {
            (place, kind)
            for place, texts in self.told().items()
            for text in map(as_text, texts)
            for kind, end in ends
            if end in text
        }


def both_ends(secret: str) -> set[str]:
    return {secret[:30], secret[-30:]}


@pytest.fixture
def witness(provider: OAuthProvider, newcomer: Browser, caplog: pytest.LogCaptureFixture) -> Iterator[Witness]:
    everything = Everything()
    logging.getLogger().addHandler(everything)
    for name in ("", *logging.getLogger().manager.loggerDict):
        caplog.set_level(logging.DEBUG, logger=name)
    connection.force_debug_cursor = True
    yield Witness(provider, newcomer, everything)
    connection.force_debug_cursor = False
    logging.getLogger().removeHandler(everything)


def journey(witness: Witness) -> None:
    """All that goes well in the life of a browser."""
    browser, see = witness.browser, witness.see
    assert see(browser.get("/accounts/login/?next=/protected/")) == 200
    assert witness.sign_in() == 302
    assert see(browser.open_page()) == 200
    witness.provider.expire_access_tokens()
    assert see(browser.open_page()) == 200
    assert see(browser.get("/accounts/session/")) == 200
    assert see(browser.get("/crash/")) == 500
    assert see(browser.sign_out()) == 200
    assert see(browser.get(PROVIDERS_SIGN_OUT)) == 302


def failures(witness: Witness) -> None:
    """Much that does not."""
    browser, provider, see = witness.browser, witness.provider, witness.see
    back = witness.begin()
    assert witness.finish(without(back, "state")) == 400
    assert witness.finish(without(back, "iss") + "&iss=https://evil.example") == 502
    assert witness.finish(back) == 400

    refused = [
        (Fault.answer(400, {"error": "invalid_grant"}), 400),
        (Fault.answer(401, {"error": "invalid_client"}), 502),
        (Fault.answer(200, {"access_token": "a"}), 502),
        (Fault.answer(200, b"<h1>Welcome</h1>", "text/html"), 502),
        (Fault.answer(503), 503),
        (Fault.lose_answer(), 503),
    ]
    for fault, status in refused:
        back = witness.begin()
        provider.fail("POST", TOKEN, fault)
        assert witness.finish(back) == status
    for fault, status in ((Fault.answer(503), 503), (Fault.answer(200, {"keys": []}), 502)):
        back = witness.begin()
        forget_documents()
        provider.fail("GET", KEYS, fault)
        assert witness.finish(back) == status
        forget_documents()
    provider.fail("GET", DISCOVERY, Fault.reset())
    assert see(press_button(browser)) == 503
    forget_documents()

    back = witness.begin()
    with records_away():
        assert witness.finish(back) == 503
    assert witness.sign_in() == 302
    provider.expire_access_tokens()
    provider.fail("POST", TOKEN, Fault.answer(401, {"error": "invalid_client"}))
    assert see(browser.open_page()) == 503
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_sessionrecord SET retry_at = NULL")
    provider.revoke_all()
    assert see(browser.open_page()) == 302
    assert witness.sign_in() == 302
    provider.fail("POST", "/o/revoke_token/", Fault.reset())
    assert see(browser.sign_out()) == 200


@pytest.mark.parametrize("debug", [False, True], ids=["in production", "in development"])
class TestNothingIsTold:
    def test_where_all_goes_well(self, witness: Witness, settings: Settings, debug: bool) -> None:
        settings.DEBUG = debug

        journey(witness)

        assert not witness.leaks()
        assert all(witness.secrets[kind] - {""} for kind in witness.secrets)
        assert len(witness.everything.heard) > 20
        assert mail.outbox

    def test_where_much_goes_wrong(self, witness: Witness, settings: Settings, debug: bool) -> None:
        settings.DEBUG = debug

        failures(witness)

        assert not witness.leaks()

    def test_where_the_provider_sends_an_error(self, witness: Witness, settings: Settings, debug: bool) -> None:
        settings.DEBUG = debug
        location = press_button(witness.browser)["Location"]
        witness.secrets["a state"].add(query_of(location)["state"])

        assert witness.finish(witness.walk(location, Visitor(consents=False))) == 403
        assert witness.finish(f"{CALLBACK}?error=server_error&state={query_of(location)['state']}") == 400

        assert not witness.leaks()

    def test_where_the_cookie_cannot_be_written(self, witness: Witness, settings: Settings, debug: bool) -> None:
        settings.DEBUG = debug
        back = witness.begin()
        settings.API_SESSION_COOKIE_SAMESITE = "Sometimes"

        assert witness.finish(back) == 500

        assert not witness.leaks()


def test_a_leak_would_be_noticed(witness: Witness) -> None:
    witness.sign_in()
    tokens = witness.browser.session().tokens
    code = next(iter(witness.secrets["a code"]))
    logging.getLogger("harbour").debug("%s %s", code, tokens.refresh[:35])

    assert {("the log", "a code"), ("the log", "a token")} <= witness.leaks()
