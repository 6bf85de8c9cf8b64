"""The same journey with variants of the token-pair API. The site's settings stay the same."""

from collections.abc import Callable, Iterator

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts.models import EndReason, SessionRecord
from tests.browsers import ADA, Browser, cookies_set
from tests.demo_api.server import DemoApi

SECRET = "/protected-route"

APIS: dict[str, Callable[[], DemoApi]] = {
    "the strict one": DemoApi,
    "refuses with 404": lambda: DemoApi(refused_status=404),
    "knows no sign-out": lambda: DemoApi(has_logout=False),
    "binds the two tokens of a pair": lambda: DemoApi(bound=True),
    "forgives a second use": lambda: DemoApi(grace_seconds=10),
    "opaque tokens with expires_in": lambda: DemoApi(tokens="opaque"),
    "opaque tokens that say nothing": lambda: DemoApi(tokens="opaque-no-expiry"),
    "its clock is five minutes ahead": lambda: DemoApi(clock_offset=300),
    "its clock is five minutes behind": lambda: DemoApi(clock_offset=-300),
    "takes its time": lambda: DemoApi(processing_seconds=0.05),
}


def wire(api: DemoApi) -> list[tuple[str, str, int]]:
    """The calls since the last time."""
    calls = [(call.method, call.path, call.status) for call in api.calls]
    api.forget_calls()
    return calls


@pytest.mark.parametrize("make", APIS.values(), ids=APIS)
def test_the_journey(make: Callable[[], DemoApi], settings: Settings, transactional_db: None) -> None:
    with make() as api:
        settings.API_BASE_URL = api.url
        browser = Browser()

        browser.sign_in()
        assert ADA in browser.open_page().text
        assert wire(api) == [("POST", "/auth/login", 200), ("GET", SECRET, 200)]

        refresh(browser, api)
        lose(browser, api)
        leave(browser, api)


def refresh(browser: Browser, api: DemoApi) -> None:
    """The access token expires: one refresh, and the page is shown."""
    for generation in (1, 2):
        api.expire_access_tokens()
        assert browser.open_page().status_code == 200
        assert wire(api) == [("GET", SECRET, 401), ("POST", "/auth/refresh", 200), ("GET", SECRET, 200)]
        assert browser.session().generation == generation

        assert browser.open_page().status_code == 200
        with CaptureQueriesContext(connection) as queries:
            assert browser.open_page().status_code == 200
        assert len(queries) == 0
        assert wire(api) == [("GET", SECRET, 200)] * 2


def lose(browser: Browser, api: DemoApi) -> None:
    """The API ends the sign-in: the user goes to the sign-in page."""
    session_id = browser.session().id
    api.revoke_all()
    response = browser.open_page()
    assert (response.status_code, response["Location"]) == (302, "/accounts/login/?next=%2Fprotected%2F&ended=1")
    assert cookies_set(response)["session"].value == ""
    assert SessionRecord.objects.get(pk=session_id).end_reason == EndReason.REFUSED
    [_, refused, (method, path, status), refused_again] = wire(api)
    assert refused[:2] == refused_again[:2] == ("POST", "/auth/refresh")
    assert refused[2] == refused_again[2] in (401, 404)
    assert (method, path.startswith("/auth/no-such-path-"), status) == ("POST", True, 404)


def leave(browser: Browser, api: DemoApi) -> None:
    """Sign in again and sign out. A copy of the cookie does not work afterwards."""
    browser.sign_in()
    assert browser.is_signed_in()
    copy = browser.copy()
    wire(api)
    assert browser.sign_out().status_code == 302
    [(method, path, status)] = wire(api)
    assert (method, path) == ("POST", "/auth/logout")
    assert status in (204, 404)
    api.expire_access_tokens()
    assert not browser.is_signed_in()
    assert not copy.is_signed_in()
    assert api.count("POST", "/auth/refresh") == 0


@pytest.fixture
def silent_api(settings: Settings) -> Iterator[DemoApi]:
    """An API with opaque tokens, without lifetimes or a user."""
    with DemoApi(tokens="opaque-no-expiry") as api:
        settings.API_BASE_URL = api.url
        yield api


class TestAnApiThatDoesNotTellHowLongItsTokensLive:
    def test_the_cookie_lives_as_long_as_the_browser(self, silent_api: DemoApi, transactional_db: None) -> None:
        browser = Browser()

        signing_in = browser.sign_in()
        silent_api.expire_access_tokens()
        rotating = browser.open_page()

        for response in (signing_in, rotating):
            cookie = cookies_set(response)["session"]
            assert cookie.value
            assert (cookie["max-age"], cookie["expires"]) == ("", "")
        assert SessionRecord.objects.get().expires_at is None

    def test_the_pages_say_so(self, silent_api: DemoApi, transactional_db: None) -> None:
        browser = Browser()
        browser.sign_in()

        said = browser.get("/accounts/session/").json()

        assert said["authenticated"] is True
        assert said["user"]["email"] == ADA
        assert (said["access_expires_in"], said["refresh_expires_in"]) == (None, None)
        page = browser.open_page()
        assert page.status_code == 200
        assert "None" not in page.text


@pytest.mark.parametrize("offset", [300.0, -300.0], ids=["ahead", "behind"])
def test_a_clock_that_is_off_moves_no_expiry(offset: float, settings: Settings, transactional_db: None) -> None:
    """A lifetime counts from the arrival of the tokens, by the site's clock. The API's clock does not matter."""
    with DemoApi(clock_offset=offset) as api:
        settings.API_BASE_URL = api.url
        browser = Browser()

        cookie = cookies_set(browser.sign_in())["session"]
        said = browser.get("/accounts/session/").json()

        assert 1700 < int(cookie["max-age"]) <= 1800
        assert 0 < said["access_expires_in"] <= 60
        assert 1700 < said["refresh_expires_in"] <= 1800
