"""The same journey in front of each kind of API. Only the settings tell the site which kind it is."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from django.db import connection
from django.http import StreamingHttpResponse
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts.models import EndReason, SessionRecord
from tests.accounts.at_provider import forget_documents, sign_in_at_provider
from tests.browsers import Answer, Browser, cookies_set, wait_until
from tests.demo_api.recorded import RecordedApi
from tests.demo_api.server import DemoApi, Fault
from tests.real_apis.apis import OAuthProvider, SimpleJwtApi

PAGE = "/protected/"
SECRET = ("GET", "/protected-route")
EXPIRED_AND_RENEWED = [("data", 401), ("refresh", 200), ("data", 200)]
SESSION_UPDATE = re.compile(r'<session-update session="([^"]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class EventKind:
    """A kind of API, and where its journey looks different on the wire."""

    make: Callable[[], RecordedApi]
    #: Who has signed in, as the page says it.
    name: str = "ada@example.com"
    refreshes_early: bool = True
    #: The answer to a revocation.
    revoked: int = 200
    #: Whether a second sign-in of the same user leaves the first one's tokens alone.
    sign_ins_are_tied: bool = False
    #: Whether each refresh token works once.
    rotates: bool = True


KINDS = {
    "token-pair": EventKind(make=DemoApi, refreshes_early=False, revoked=204),
    "simplejwt, rotation and blacklist": EventKind(make=SimpleJwtApi),
    "simplejwt, rotation": EventKind(make=lambda: SimpleJwtApi(blacklist=False), revoked=404),
    "simplejwt, no rotation": EventKind(make=lambda: SimpleJwtApi(rotation=False), rotates=False),
    "simplejwt, users called by their e-mail": EventKind(make=lambda: SimpleJwtApi(username_field="email")),
    "oauth2": EventKind(make=OAuthProvider, name="Ada", sign_ins_are_tied=True),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_journey(kind: EventKind, settings: Settings, transactional_db: None) -> None:
    with kind.make() as api:
        for name, value in api.site_environment.items():
            setattr(settings, name, value)
        forget_documents()
        api.register_site("http://testserver")
        browser = Browser()

        arrive(browser, api, kind)
        renew(browser, api)
        renew_ahead(browser, api, kind)
        renew_in_mid_stream(browser, api)
        miss_an_answer(browser, api)
        keep_the_session_while_the_api_is_sick(browser, api)
        sign_in_once_more(browser, api, kind)
        lose_it(browser, api)
        leave(browser, api, kind)
        assert api.reuses == 0
        assert not kind.rotates or set(api.refresh_spends.values()) == {1}


def sign_in(browser: Browser, api: RecordedApi) -> Answer:
    """As Ada, with the form on this site or at the provider; afterwards, to the protected page."""
    if isinstance(api, OAuthProvider):
        return sign_in_at_provider(browser, PAGE)
    return browser.sign_in(next=PAGE)


def wire(api: RecordedApi) -> list[tuple[str, int]]:
    """What crossed the wire since the last time. A provider's documents and its pages for people are left out."""
    names = {SECRET: "data", api.sign_in_call: "sign in", api.revoke_call: "revoke"}
    calls = [
        ("refresh" if api.is_refresh(call) else names.get((call.method, call.path), ""), call.status)
        for call in api.calls
    ]
    api.forget_calls()
    return [(name, status) for name, status in calls if name]


def arrive(browser: Browser, api: RecordedApi, kind: EventKind) -> None:
    """From the page to the sign-in, and back."""
    assert browser.open_page()["Location"] == "/accounts/login/?next=%2Fprotected%2F"

    answer = sign_in(browser, api)

    assert (answer.status_code, answer["Location"]) == (302, PAGE)
    assert kind.name in browser.open_page().text
    assert wire(api) == [("sign in", 200), ("data", 200)]


def renew(browser: Browser, api: RecordedApi) -> None:
    """The access token expires: one refresh, and the page renders."""
    for generation in (1, 2):
        api.expire_access_tokens()
        assert browser.open_page().status_code == 200
        assert wire(api) == EXPIRED_AND_RENEWED
        assert browser.session().generation == generation

        assert browser.open_page().status_code == 200
        with CaptureQueriesContext(connection) as queries:
            assert browser.open_page().status_code == 200
        assert len(queries) == 0
        assert wire(api) == [("data", 200)] * 2


def renew_ahead(browser: Browser, api: RecordedApi, kind: EventKind) -> None:
    """By the site's clock it is about to expire: whoever may be asked early is, and the others are not."""
    browser.age(45)

    assert browser.open_page().status_code == 200

    assert wire(api) == [("refresh", 200), ("data", 200)] if kind.refreshes_early else [("data", 200)]


def renew_in_mid_stream(browser: Browser, api: RecordedApi) -> None:
    """The headers have left: the body carries the new session, and the page's script brings it back."""
    generation = browser.session().generation
    stream = browser.get("/protected/stream/?rows=2&delay=0")
    assert isinstance(stream, StreamingHttpResponse)
    pieces = (piece.decode() for piece in stream)
    head = next(pieces) + next(pieces)
    assert not SESSION_UPDATE.search(head)
    api.expire_access_tokens()
    wire(api)

    [session_update] = SESSION_UPDATE.findall("".join(pieces))
    body = json.dumps({"session": session_update})
    answer = browser.post("/accounts/session/update/", body, content_type="application/json")

    assert answer.status_code == 204
    assert browser.session().generation == generation + 1
    assert wire(api) == EXPIRED_AND_RENEWED


def miss_an_answer(browser: Browser, api: RecordedApi) -> None:
    """Its answer got lost: the next request adopts, and the API is not asked again."""
    missed = browser.copy()
    api.expire_access_tokens()
    assert missed.open_page().status_code == 200
    wire(api)

    assert browser.open_page().status_code == 200

    assert browser.session().generation == missed.session().generation
    assert wire(api) == [("data", 401), ("data", 200)]


def keep_the_session_while_the_api_is_sick(browser: Browser, api: RecordedApi) -> None:
    """Only its clear refusal ends a session: no error page, and no document that cannot be had."""
    sick = {api.refresh_call: [("refresh", 404)]}
    if isinstance(api, OAuthProvider):
        sick["GET", "/o/.well-known/"] = []
    for call, asked in sick.items():
        assert browser.is_signed_in()  # and seen with its newest cookie
        generation = browser.session().generation
        wire(api)
        forget_documents()
        api.expire_access_tokens()
        api.fail(*call, Fault.answer(404, b"<h1>Not Found</h1>", "text/html"), times=None)

        answer = browser.open_page()

        assert answer.status_code == 503
        assert list(cookies_set(answer)) == []
        assert wire(api) == [("data", 401), *asked]
        api.heal()
        forget_documents()
        wait_until(browser.is_signed_in)
        assert browser.session().generation == generation + 1
        assert [step for step in wire(api) if step[0] == "refresh"] == [("refresh", 200)]


def sign_in_once_more(browser: Browser, api: RecordedApi, kind: EventKind) -> None:
    """In the same browser: the session of before is over, and what the API has of it ends, where it can end alone."""
    before = browser.session().id

    sign_in(browser, api)

    assert browser.session().id != before
    assert SessionRecord.objects.get(pk=before).end_reason == EndReason.REPLACED
    revoked = [] if kind.sign_ins_are_tied else [("revoke", kind.revoked)]
    assert wire(api) == [("sign in", 200), *revoked]
    api.expire_access_tokens()
    assert browser.open_page().status_code == 200
    assert wire(api) == EXPIRED_AND_RENEWED


def lose_it(browser: Browser, api: RecordedApi) -> None:
    """The API ends the sign-in: to the sign-in page, and back."""
    session_id = browser.session().id
    api.revoke_all()

    answer = browser.open_page()

    assert (answer.status_code, answer["Location"]) == (302, "/accounts/login/?next=%2Fprotected%2F&ended=1")
    assert cookies_set(answer)["session"].value == ""
    assert SessionRecord.objects.get(pk=session_id).end_reason == EndReason.REFUSED
    [data, (name, status)] = wire(api)
    assert (data, name) == (("data", 401), "refresh")
    assert status in (400, 401)
    assert "Your session has ended" in browser.get(answer["Location"]).text
    assert sign_in(browser, api)["Location"] == PAGE
    assert browser.is_signed_in()


def leave(browser: Browser, api: RecordedApi, kind: EventKind) -> None:
    """Out, here and at the API. A copy of the cookie is of no use afterwards, whatever the API makes of its pair."""
    copy = browser.copy()
    wire(api)

    answer = browser.sign_out()

    assert cookies_set(answer)["session"].value == ""
    assert wire(api) == [("revoke", kind.revoked)]
    api.expire_access_tokens()
    assert not browser.is_signed_in()
    assert not copy.is_signed_in()
    assert api.count_refreshes() == 0
