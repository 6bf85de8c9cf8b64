"""No token, password or cookie is ever in a log, on a page or in an e-mail."""

import base64
import html
import json
import logging
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import django
import pytest
from django.core import mail
from django.db import connection
from django.http import HttpResponse
from django.urls import path
from django.utils.log import AdminEmailHandler
from pytest_django import Settings

from accounts.api_client import ApiRequest
from accounts.browser.cookies import read_cookies
from accounts.dialects.base import RefreshOutcome, SignedIn
from accounts.dialects.token_pair import TokenPairDialect
from accounts.session.tokens import TokenPair
from accounts.signals import session_ended, session_started
from accounts.upstream.calls import ApiAnswer, ApiCall
from config.urls import urlpatterns as site
from tests.browsers import ADA, Answer, Browser, records_away
from tests.demo_api.server import DEMO_USERS, DemoApi, Fault

SECRET = "/protected-route"
WRONG_PASSWORD = secrets.token_urlsafe()  # drawn, as a report shows lines of the source too
JWT = base64.b64encode(b'{"alg":"').decode()[:9]  # how every token of the demo API begins
LONG_WORD = re.compile(r"[\w-]{200,}", re.ASCII)


def crash(request: ApiRequest) -> HttpResponse:
    """A view that crashes while its variables hold every secret that a view can have."""
    session = request.api_session.require()
    held = [request, request.api, request.api_session, session, session.tokens, session.user, request.api.get(SECRET)]
    raise RuntimeError(f"{held}")


def send_no_json(request: ApiRequest) -> HttpResponse:
    """A view that crashes inside the call: the body cannot be written as JSON."""
    return HttpResponse(request.api.post(SECRET, json={"pier": object()}).content)


def send_a_broken_body(request: ApiRequest) -> HttpResponse:
    """A view that crashes after half the request was sent."""

    def pieces() -> Iterator[bytes]:
        yield b"high "
        raise RuntimeError("out of ink")

    return HttpResponse(request.api.post(SECRET, data=pieces()).content)


def crash_in_a_stream(request: ApiRequest) -> HttpResponse:
    answer = request.api.get("/protected-route/export.csv", stream=True)
    with answer:
        for piece in answer.iter_content(4096):
            raise RuntimeError(f"cannot read {len(piece)} bytes")
    return HttpResponse("never")


def leak(request: ApiRequest) -> HttpResponse:
    """Leaks a secret, which shows that the test would notice one."""
    tokens = request.api_session.require().tokens
    as_bytes = tokens.access.encode()
    raise RuntimeError(f"{len(as_bytes)} bytes of {tokens}")


urlpatterns = [
    path("crash/", crash),
    path("send-no-json/", send_no_json),
    path("send-a-broken-body/", send_a_broken_body),
    path("crash-in-a-stream/", crash_in_a_stream),
    path("leak/", leak),
    *site,
]
pytestmark = [pytest.mark.urls(__name__), pytest.mark.usefixtures("admins")]


class CrashingDialect(TokenPairDialect):
    """A custom dialect with defects."""

    crashes_in = ""

    def sign_in(self, username: str, password: str) -> ApiCall:
        call = super().sign_in(username, password)
        return self._crash_in("sign_in") or call

    def read_sign_in(self, answer: ApiAnswer, username: str) -> SignedIn:
        body = answer.json_object()
        return self._crash_in("read_sign_in") or super().read_sign_in(answer, body["user"])

    def read_refresh(self, answer: ApiAnswer, tokens: TokenPair) -> RefreshOutcome:
        body = answer.json_object()
        return self._crash_in("read_refresh") or super().read_refresh(answer, body["tokens"])

    def _crash_in(self, place: str) -> Any:
        if type(self).crashes_in == place:
            raise RuntimeError("not ready")


class CrashesAtSignIn(CrashingDialect):
    crashes_in = "sign_in"


class CrashesReadingASignIn(CrashingDialect):
    crashes_in = "read_sign_in"


class CrashesReadingARefresh(CrashingDialect):
    crashes_in = "read_refresh"

    read_sign_in = TokenPairDialect.read_sign_in


class Everything(logging.Handler):
    """Receives the records of all loggers, with tracebacks and with fields that only other handlers would show."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard += [self.format(record), repr(vars(record))]


@dataclass(repr=False)
class Witness:
    """Collects all output of the site, and all secrets."""

    api: DemoApi
    everything: Everything
    pages: list[str] = field(default_factory=list)
    cookies: set[str] = field(default_factory=set)

    def see(self, browser: Browser, answer: Answer) -> Answer:
        """Add a response as it is shown, and the secrets in the cookie that it set."""
        shown = [f"{name}: {value}" for name, value in answer.headers.items()]
        self.pages.append("\n".join([*shown, answer.content.decode()]))
        self.cookies |= {value for name, value in browser.take().items() if name.startswith("session")}
        return answer

    def told(self) -> list[str]:
        mails = (str(message.message()) for message in mail.outbox)
        bodies = ([str(message.subject), str(message.body), *html_of(message)] for message in mail.outbox)
        queries = (query["sql"] for query in connection.queries_log)
        told = chain(self.pages, self.everything.heard, mails, *bodies, (sql for sql in queries if sql))
        return [as_text(text) for text in told]

    def secrets(self) -> set[str]:
        found = {JWT, DEMO_USERS[ADA], WRONG_PASSWORD, *self.cookies}
        for call in self.api.calls:
            found.add(call.headers.get("authorization", "").removeprefix("Bearer "))
            if call.path in ("/auth/refresh", "/auth/logout"):
                found.update(json.loads(call.body).values())
        for cookie in self.cookies:
            session = Browser({"session": cookie}).session()
            found |= {session.tokens.access, session.tokens.refresh, session.secret.hex(), repr(session.secret)}
        return found - {""}

    def leaks(self) -> set[str]:
        """The places that show a secret. Long ones are found by both ends, because reports cut off long values."""
        told = self.told()
        secrets = self.secrets() | {word for text in told for word in LONG_WORD.findall(text) if is_session(word)}
        ends = {end for secret in secrets for end in (secret[:40], secret[-40:])}
        return {text[max(0, text.find(end) - 80) : text.find(end) + 20] for text in told for end in ends if end in text}


def is_session(word: str) -> bool:
    """Whether it would do as a cookie."""
    return read_cookies({"session": word}) is not None


def html_of(message: Any) -> list[str]:
    return [str(content) for content, _ in getattr(message, "alternatives", [])]


def as_text(told: str) -> str:
    """The text as a reader sees it: entities decoded, and the lines of a long bytes literal joined."""
    return re.sub(r"'\s+b?'", "", html.unescape(told))


@pytest.fixture
def admins(settings: Settings) -> Iterator[None]:
    """Errors are sent by e-mail, with everything that a report can hold."""
    address = "harbour-master@example.com"
    settings.ADMINS = [address] if django.VERSION >= (6, 0) else [("Harbour master", address)]
    # Asked for from Django 6.1 on, unknown to those before.
    settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
    handler = AdminEmailHandler(include_html=True)
    logger = logging.getLogger("django.request")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


@pytest.fixture
def witness(api: DemoApi, caplog: pytest.LogCaptureFixture) -> Iterator[Witness]:
    everything = Everything()
    logging.getLogger().addHandler(everything)
    for name in ("", *logging.getLogger().manager.loggerDict):
        caplog.set_level(logging.DEBUG, logger=name)
    connection.force_debug_cursor = True
    yield Witness(api, everything)
    connection.force_debug_cursor = False
    logging.getLogger().removeHandler(everything)


def journey(browser: Browser, api: DemoApi, witness: Witness) -> None:
    """The whole life of a browser's session, with many errors."""

    def see(answer: Answer) -> int:
        return witness.see(browser, answer).status_code

    assert see(browser.get("/accounts/login/")) == 200
    assert see(browser.sign_in(ADA, WRONG_PASSWORD)) == 200
    assert see(browser.sign_in()) == 302
    assert see(browser.open_page()) == 200
    api.expire_access_tokens()
    assert see(browser.open_page()) == 200
    assert see(browser.get("/accounts/session/")) == 200

    for page in ("/crash/", "/send-no-json/", "/send-a-broken-body/", "/crash-in-a-stream/"):
        assert see(browser.get(page, headers={"Authorization": f"Basic {WRONG_PASSWORD}"})) == 500
    api.expire_access_tokens()
    assert see(browser.get("/crash/")) == 500

    api.fail("GET", SECRET, Fault.reset(), times=2)
    assert see(browser.open_page()) == 503
    api.fail("GET", SECRET, Fault.answer(302, headers={"Location": "/elsewhere"}))
    assert see(browser.open_page()) == 502
    for fault in (Fault.reset(), Fault.answer(200, b"<h1>Hello</h1>", "text/html")):
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", fault)
        assert see(browser.open_page()) == 503
        browser.record()
        with connection.cursor() as cursor:
            cursor.execute("UPDATE accounts_sessionrecord SET retry_at = NULL")
    assert see(browser.open_page()) == 200

    with records_away():
        assert see(browser.sign_in()) == 503
    api.fail("POST", "/auth/login", Fault.lose_answer())
    assert see(browser.sign_in()) == 503
    api.fail("POST", "/auth/login", Fault.answer(200, {"accessToken": "a"}))
    assert see(browser.sign_in()) == 502

    assert see(browser.sign_in()) == 302
    api.revoke_all()
    assert see(browser.open_page()) == 302
    assert see(browser.sign_in()) == 302
    api.fail("POST", "/auth/logout", Fault.reset())
    assert see(browser.sign_out()) == 302
    assert see(browser.get("/nowhere/")) == 404


@pytest.mark.parametrize("debug", [False, True], ids=["in production", "in development"])
class TestNothingIsTold:
    def test_on_the_whole_journey(
        self, browser: Browser, api: DemoApi, witness: Witness, settings: Settings, debug: bool
    ) -> None:
        settings.DEBUG = debug

        journey(browser, api, witness)

        assert len(witness.secrets()) > 20
        assert len(witness.everything.heard) > 100
        assert len(mail.outbox) > 5
        assert not witness.leaks()

    @pytest.mark.parametrize("signal", ["started", "ended"])
    def test_when_a_receiver_fails(
        self, browser: Browser, api: DemoApi, witness: Witness, settings: Settings, debug: bool, signal: str
    ) -> None:
        settings.DEBUG = debug
        browser.sign_in()

        called: list[Any] = []

        def fail(**what: Any) -> None:
            called.append(what)
            raise RuntimeError(f"the receiver fails: {what}")

        listened_to = {"started": session_started, "ended": session_ended}[signal]
        listened_to.connect(fail)
        try:
            witness.see(browser, browser.sign_in())
            api.revoke_all()
            witness.see(browser, browser.open_page())
        finally:
            listened_to.disconnect(fail)

        assert called
        assert not witness.leaks()

    def test_when_the_cookie_cannot_be_written(
        self, browser: Browser, witness: Witness, settings: Settings, debug: bool
    ) -> None:
        settings.DEBUG = debug
        settings.API_SESSION_COOKIE_SAMESITE = "Sometimes"

        assert witness.see(browser, browser.sign_in()).status_code == 500

        assert not witness.leaks()

    @pytest.mark.parametrize("dialect", [CrashesAtSignIn, CrashesReadingASignIn])
    def test_when_a_dialect_of_ones_own_crashes_at_sign_in(
        self, browser: Browser, witness: Witness, settings: Settings, debug: bool, dialect: type[CrashingDialect]
    ) -> None:
        settings.DEBUG = debug
        settings.API_DIALECT = f"{__name__}.{dialect.__name__}"

        assert witness.see(browser, browser.sign_in()).status_code == 500

        assert not witness.leaks()

    def test_when_it_crashes_in_a_refresh(
        self, browser: Browser, api: DemoApi, witness: Witness, settings: Settings, debug: bool
    ) -> None:
        settings.DEBUG = debug
        settings.API_DIALECT = f"{__name__}.{CrashesReadingARefresh.__name__}"
        witness.see(browser, browser.sign_in())
        api.expire_access_tokens()

        assert witness.see(browser, browser.open_page()).status_code == 500

        assert not witness.leaks()


@pytest.mark.parametrize("debug", [False, True], ids=["in production", "in development"])
def test_a_leak_would_be_noticed(browser: Browser, witness: Witness, settings: Settings, debug: bool) -> None:
    settings.DEBUG = debug
    witness.see(browser, browser.sign_in())

    assert witness.see(browser, browser.get("/leak/")).status_code == 500

    assert witness.leaks()
