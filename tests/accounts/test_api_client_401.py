"""request.api: a 401 that has another reason than the access token, and an API that rejects its own new tokens."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import pytest
from pytest_django import Settings

from tests.accounts.api_calls import REFRESHED, SECRET, call, sent
from tests.browsers import Browser, cookies_set, records_away, wait_until
from tests.demo_api.server import DemoApi, Fault, Gate

pytestmark = pytest.mark.urls("tests.accounts.api_calls")

ORDER = "/orders/7"
BODY = b'{"message": "Not yours."}'
PAGES = 10
AFTER_THE_PAUSE = 16


@pytest.fixture
def signed_in(signed_in: Browser, api: DemoApi) -> Browser:
    """Ada's browser, without the calls of its sign-in."""
    api.forget_calls()
    return signed_in


def always_401(api: DemoApi, path: str = ORDER, method: str = "GET") -> None:
    api.fail(method, path, Fault.answer(401, BODY), times=None)


def refreshes(api: DemoApi) -> int:
    return api.count("POST", "/auth/refresh")


class TestTheViewGetsThe401:
    def test_of_a_pair_just_issued(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        always_401(api)

        response = call(signed_in, "GET", ORDER)

        assert (response.status_code, response.content) == (401, BODY)
        assert sent(api) == [("GET", ORDER, 401), REFRESHED, ("GET", ORDER, 401)]
        assert signed_in.session().generation == 1
        assert signed_in.is_signed_in()

    def test_of_a_pair_that_was_refreshed_first(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        signed_in.age(61)
        always_401(api)

        assert call(signed_in, "GET", ORDER).status_code == 401
        assert call(signed_in, "GET", ORDER).status_code == 401

        assert sent(api) == [REFRESHED, *[("GET", ORDER, 401)] * 2]
        assert signed_in.is_signed_in()

    def test_of_a_token_that_is_still_valid(self, signed_in: Browser, api: DemoApi) -> None:
        always_401(api)

        first, second = call(signed_in, "GET", ORDER), call(signed_in, "GET", ORDER)

        assert (first.content, second.content) == (BODY, BODY)
        assert sent(api) == [("GET", ORDER, 401), ("POST", "/auth/refresh", 400), *[("GET", ORDER, 401)] * 2]
        assert signed_in.session().generation == 0
        assert signed_in.is_signed_in()

    def test_as_a_stream(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        always_401(api)

        response = call(signed_in, "GET", ORDER, stream=True)

        assert (response.status_code, response.content) == (401, BODY)

    def test_a_page_that_cannot_use_it_is_a_502(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        always_401(api, SECRET)

        response = signed_in.open_page()

        assert response.status_code == HTTPStatus.BAD_GATEWAY
        assert signed_in.session().generation == 1
        api.heal()
        assert signed_in.is_signed_in()

    def test_a_single_wrong_401_has_no_effect(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", SECRET, Fault.answer(401, b"<h1>Unauthorized</h1>", "text/html"))

        response = call(signed_in, "GET")

        assert response.status_code == 200
        assert not cookies_set(response)
        assert signed_in.session().generation == 0


class TestNoStormOfRotations:
    def test_many_pages_one_after_the_other(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        always_401(api, "/")

        assert {call(signed_in, "GET").status_code for _ in range(PAGES)} == {401}

        assert refreshes(api) == 1

    def test_one_address_of_many(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        always_401(api)

        for _ in range(PAGES):
            assert call(signed_in, "GET", ORDER).status_code == 401
            assert call(signed_in, "GET").status_code == 200

        assert refreshes(api) == 1

    def test_a_browser_that_never_receives_the_new_cookie(self, signed_in: Browser, api: DemoApi) -> None:
        """Other workers and hosts learn from the record what the cookie does not say."""
        api.expire_access_tokens()
        always_401(api)

        assert {call(signed_in.copy(), "GET", ORDER).status_code for _ in range(PAGES)} == {401}

        assert refreshes(api) == 1

    def test_several_tabs_at_once(self, signed_in: Browser, api: DemoApi) -> None:
        tabs = [signed_in.copy() for _ in range(5)]
        api.expire_access_tokens()
        always_401(api)

        with Gate() as gate, ThreadPoolExecutor(len(tabs)) as pool:
            api.fail("POST", "/auth/refresh", Fault.hold_before(gate))
            responses = [pool.submit(call, tab, "GET", ORDER) for tab in tabs]
            wait_until(lambda: api.count("GET", ORDER, 401) == len(tabs))
            gate.release()
            assert {each.result().status_code for each in responses} == {401}

        assert refreshes(api) == 1

    @pytest.mark.parametrize(
        "body", [lambda: io.BytesIO(BODY), lambda: io.StringIO("high tide")], ids=["bytes", "text"]
    )
    def test_an_upload_that_is_sent_again(
        self, signed_in: Browser, api: DemoApi, body: Callable[[], io.IOBase]
    ) -> None:
        api.expire_access_tokens()
        always_401(api, method="POST")

        statuses = [call(signed_in, "POST", ORDER, data=body()).status_code for _ in range(4)]

        assert statuses == [503, 401, 401, 401]
        assert refreshes(api) == 1

    def test_an_upload_with_a_token_that_is_still_valid(self, signed_in: Browser, api: DemoApi) -> None:
        always_401(api, method="POST")

        statuses = [call(signed_in, "POST", ORDER, data=io.BytesIO(BODY)).status_code for _ in range(3)]

        assert statuses == [503, 401, 401]
        assert refreshes(api) == 1


class TestTokensThatAreRevokedEarly:
    def test_are_refreshed_however_new_they_are(self, signed_in: Browser, api: DemoApi) -> None:
        for _ in range(3):
            api.expire_access_tokens()
            assert call(signed_in, "GET").status_code == 200

        assert refreshes(api) == 3

    def test_are_refreshed_after_the_pause(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        always_401(api)
        call(signed_in, "GET", ORDER)
        api.heal()
        api.expire_access_tokens()
        assert call(signed_in, "GET").status_code == 401

        signed_in.age(AFTER_THE_PAUSE)

        assert call(signed_in, "GET").status_code == 200
        assert signed_in.session().generation == 2

    def test_a_clock_that_was_set_back_does_not_prolong_the_pause(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        always_401(api)
        call(signed_in, "GET", ORDER)
        api.heal()
        api.expire_access_tokens()

        signed_in.age(-3600)

        assert call(signed_in, "GET").status_code == 200

    def test_the_session_ends_when_the_refresh_is_refused(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        always_401(api)
        call(signed_in, "GET", ORDER)
        api.heal()
        api.revoke_all()
        signed_in.age(AFTER_THE_PAUSE)

        response = call(signed_in, "GET")

        assert (response.status_code, response["Location"][-8:]) == (302, "&ended=1")
        assert "session" not in signed_in.take()

    def test_without_a_database_the_cookie_knows(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        always_401(api)
        call(signed_in, "GET", ORDER)
        call(signed_in, "GET", ORDER)
        api.forget_calls()

        with records_away():
            assert call(signed_in, "GET", ORDER).status_code == 401

        assert sent(api) == [("GET", ORDER, 401)]


def test_tokens_that_expire_at_once_are_a_503(settings: Settings, transactional_db: None) -> None:
    with DemoApi(access_ttl=0.001) as api:
        settings.API_BASE_URL = api.url
        browser = Browser()
        browser.sign_in()

        response = call(browser, "GET")

        assert response.status_code == 503
        assert api.count("GET", SECRET, 401) == 5
        assert set(api.refresh_spends.values()) == {1}
        assert browser.session().generation == len(api.refresh_spends)
        assert browser.record().ended_at is None
