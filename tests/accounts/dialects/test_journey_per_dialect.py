"""The same journey with each kind of API. Only the settings tell the site which kind it is."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django.http import StreamingHttpResponse
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts.models import EndReason, SessionRecord
from tests.accounts.at_provider import (
    forget_documents,
    sign_in_at_provider,
    skip_retry_pause,
    without_nonce_requests,
)
from tests.accounts.conftest import SimpleJwtStarter, point_at
from tests.browsers import Answer, Browser, cookies_set
from tests.demo_api.recorded import RecordedApi
from tests.demo_api.server import Fault
from tests.real_apis.apis import AnyProvider

PAGE = "/protected/"
SECRET = ("GET", "/protected-route")
EXPIRED_AND_REFRESHED = [("data", 401), ("refresh", 200), ("data", 200)]
SESSION_UPDATE = re.compile(r'<session-update session="([^"]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKind:
    """A kind of API, and the differences of its journey on the wire."""

    #: Takes the API from a fixture: the real ones are shared.
    find: Callable[[pytest.FixtureRequest], RecordedApi]
    #: The user's name on the page.
    name: str = "ada@example.com"
    #: A claim of the user that the API sends.
    claim: str = "user_id"
    refreshes_early: bool = True
    #: The status of the revocation.
    revoked: int = 200
    #: Whether a second sign-in of the same user leaves the first one's tokens alone.
    sign_ins_are_tied: bool = False
    #: Whether each refresh token works once.
    rotates: bool = True


def simplejwt(**options: object) -> Callable[[pytest.FixtureRequest], RecordedApi]:
    def find(request: pytest.FixtureRequest) -> RecordedApi:
        start: SimpleJwtStarter = request.getfixturevalue("shared_simplejwt")
        return start(**options)

    return find


KINDS = {
    "token-pair": ApiKind(
        find=lambda request: request.getfixturevalue("api"), claim="id", refreshes_early=False, revoked=204
    ),
    "simplejwt, rotation and blacklist": ApiKind(find=simplejwt()),
    "simplejwt, rotation": ApiKind(find=simplejwt(blacklist=False), revoked=404),
    "simplejwt, no rotation": ApiKind(find=simplejwt(rotation=False), rotates=False),
    "simplejwt, users called by their e-mail": ApiKind(find=simplejwt(username_field="email")),
    "oauth2": ApiKind(
        find=lambda request: request.getfixturevalue("running_provider"),
        name="Ada",
        claim="name",
        sign_ins_are_tied=True,
    ),
    "oauth2 with private_key_jwt, PAR and DPoP": ApiKind(
        find=lambda request: request.getfixturevalue("running_strict_provider"),
        name="Ada",
        claim="name",
        sign_ins_are_tied=True,
    ),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_journey(
    kind: ApiKind, request: pytest.FixtureRequest, settings: Settings, transactional_db: None, no_documents: None
) -> None:
    api = kind.find(request)
    point_at(settings, api.site_environment)
    settings.API_USER_CLAIMS = [kind.claim]
    api.forget_calls()
    reuses, spends = api.reuses, api.refresh_spends
    browser = Browser()

    try:
        arrive(browser, api, kind)
        refresh(browser, api)
        assert list(browser.session().user.claims) == [kind.claim]
        refresh_early(browser, api, kind)
        refresh_in_mid_stream(browser, api)
        miss_a_response(browser, api)
        keep_the_session_while_the_api_is_sick(browser, api)
        sign_in_once_more(browser, api, kind)
        lose_it(browser, api)
        leave(browser, api, kind)
    finally:
        api.heal()
    assert api.reuses == reuses
    assert not kind.rotates or set((api.refresh_spends - spends).values()) == {1}


def sign_in(browser: Browser, api: RecordedApi) -> Answer:
    """Sign Ada in, with the form on this site or at the provider, and go on to the protected page."""
    if isinstance(api, AnyProvider):
        return sign_in_at_provider(browser, PAGE)
    return browser.sign_in(next=PAGE)


def wire(api: RecordedApi) -> list[tuple[str, int]]:
    """The calls since the last time, without a provider's documents and pages, and without requests for a nonce."""
    names = {SECRET: "data", api.sign_in_call: "sign in", api.revoke_call: "revoke"}
    calls = [
        ("refresh" if api.is_refresh(call) else names.get((call.method, call.path), ""), call.status)
        for call in without_nonce_requests(api.calls)
    ]
    api.forget_calls()
    return [(name, status) for name, status in calls if name]


def arrive(browser: Browser, api: RecordedApi, kind: ApiKind) -> None:
    """The page redirects to the sign-in, and the sign-in redirects back."""
    assert browser.open_page()["Location"] == "/accounts/login/?next=%2Fprotected%2F"

    answer = sign_in(browser, api)

    assert (answer.status_code, answer["Location"]) == (302, PAGE)
    assert kind.name in browser.open_page().text
    assert wire(api) == [("sign in", 200), ("data", 200)]


def refresh(browser: Browser, api: RecordedApi) -> None:
    """The access token expires: one refresh, and the page is shown."""
    for generation in (1, 2):
        api.expire_access_tokens()
        assert browser.open_page().status_code == 200
        assert wire(api) == EXPIRED_AND_REFRESHED
        assert browser.session().generation == generation

        assert browser.open_page().status_code == 200
        with CaptureQueriesContext(connection) as queries:
            assert browser.open_page().status_code == 200
        assert len(queries) == 0
        assert wire(api) == [("data", 200)] * 2


def refresh_early(browser: Browser, api: RecordedApi, kind: ApiKind) -> None:
    """By the site's clock the token is about to expire: the site refreshes it early if the API allows that."""
    browser.age(45)

    assert browser.open_page().status_code == 200

    assert wire(api) == [("refresh", 200), ("data", 200)] if kind.refreshes_early else [("data", 200)]


def refresh_in_mid_stream(browser: Browser, api: RecordedApi) -> None:
    """The headers are already sent: the body carries the session update, and the page's script sends it back."""
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
    assert wire(api) == EXPIRED_AND_REFRESHED


def miss_a_response(browser: Browser, api: RecordedApi) -> None:
    """A response was lost: the next request picks up the new pair, and the API is not called again."""
    missed = browser.copy()
    api.expire_access_tokens()
    assert missed.open_page().status_code == 200
    wire(api)

    assert browser.open_page().status_code == 200

    assert browser.session().generation == missed.session().generation
    assert wire(api) == [("data", 401), ("data", 200)]


def keep_the_session_while_the_api_is_sick(browser: Browser, api: RecordedApi) -> None:
    """Only a clear refusal ends a session. An error page does not, and a missing discovery document does not."""
    sick = {api.refresh_call: [("refresh", 404)]}
    if isinstance(api, AnyProvider):
        sick["GET", f"{urlsplit(api.issuer).path}/.well-known/"] = []
    for call, asked in sick.items():
        assert browser.is_signed_in()  # and has the newest cookie
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
        skip_retry_pause()
        assert browser.is_signed_in()
        assert browser.session().generation == generation + 1
        assert [step for step in wire(api) if step[0] == "refresh"] == [("refresh", 200)]


def sign_in_once_more(browser: Browser, api: RecordedApi, kind: ApiKind) -> None:
    """In the same browser: the previous session ends here, and at the API unless the sign-ins are tied."""
    before = browser.session().id

    sign_in(browser, api)

    assert browser.session().id != before
    assert SessionRecord.objects.get(pk=before).end_reason == EndReason.REPLACED
    revoked = [] if kind.sign_ins_are_tied else [("revoke", kind.revoked)]
    assert wire(api) == [("sign in", 200), *revoked]
    api.expire_access_tokens()
    assert browser.open_page().status_code == 200
    assert wire(api) == EXPIRED_AND_REFRESHED


def lose_it(browser: Browser, api: RecordedApi) -> None:
    """The API ends the sign-in: the user goes to the sign-in page, and back."""
    session_id = browser.session().id
    api.revoke_all()

    answer = browser.open_page()

    assert (answer.status_code, answer["Location"]) == (302, "/accounts/login/?next=%2Fprotected%2F&ended=1")
    assert cookies_set(answer)["session"].value == ""
    assert SessionRecord.objects.get(pk=session_id).end_reason == EndReason.REFUSED
    data, *refusals = wire(api)
    assert data == ("data", 401)
    # Without an error code, the refusal is checked: was it a gateway's?
    assert refusals in ([("refresh", 400)], [("refresh", 401)], [("refresh", 401)] * 2)
    assert "Your session has ended" in browser.get(answer["Location"]).text
    assert sign_in(browser, api)["Location"] == PAGE
    assert browser.is_signed_in()


def leave(browser: Browser, api: RecordedApi, kind: ApiKind) -> None:
    """Sign out here and at the API. A copy of the cookie does not work afterwards."""
    copy = browser.copy()
    wire(api)

    answer = browser.sign_out()

    assert cookies_set(answer)["session"].value == ""
    assert wire(api) == [("revoke", kind.revoked)]
    api.expire_access_tokens()
    assert not browser.is_signed_in()
    assert not copy.is_signed_in()
    assert api.count_refreshes() == 0
