"""The deferred-update endpoint: which session updates become the cookie, and which requests it accepts."""

import json
import secrets
from dataclasses import replace

import pytest

from accounts.browser.cookies import MAX_SESSION_BYTES
from tests.accounts.session_updates import ENDPOINT, assert_refused, flip_bit, post, session_update
from tests.browsers import Browser, cookies_set, records_away
from tests.demo_api.server import DemoApi


class TestAccepted:
    def test_an_update_becomes_the_cookie_which_the_next_request_confirms(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        text = session_update(signed_in, api)

        response = post(signed_in, text)

        assert (response.status_code, response.content) == (204, b"")
        assert response["Cache-Control"] == "private, no-store"
        cookie = cookies_set(response)["session"]
        assert (cookie["httponly"], cookie["path"], cookie["domain"]) == (True, "/", "")
        assert int(cookie["max-age"]) > 0
        session = signed_in.session()
        assert (session.generation, session.confirmed, signed_in.record().confirmed) == (1, False, 0)

        api.forget_calls()
        assert signed_in.is_signed_in()
        session = signed_in.session()
        assert (session.generation, session.confirmed, signed_in.record().confirmed) == (1, True, 1)
        assert [(call.path, call.status) for call in api.calls] == [("/protected-route", 200)]

    def test_it_may_be_posted_twice(self, signed_in: Browser, api: DemoApi) -> None:
        text = session_update(signed_in, api)

        assert [post(signed_in, text).status_code for _ in range(3)] == [204] * 3

        assert signed_in.session().generation == 1
        assert signed_in.is_signed_in()
        assert signed_in.record().confirmed == 1
        assert post(signed_in, text).status_code == 204
        assert signed_in.is_signed_in()
        assert api.count("POST", "/auth/refresh") == 1

    def test_the_response_never_contains_tokens_or_secrets(self, signed_in: Browser, api: DemoApi) -> None:
        text = session_update(signed_in, api)
        good, bad = post(signed_in, text), post(signed_in, flip_bit(text, 40))

        session = signed_in.session()
        for secret in (session.tokens.access, session.tokens.refresh, session.secret.hex(), text):
            assert secret not in good.serialize().decode() + bad.serialize().decode()

    def test_a_newer_generation_of_the_record_is_written_instead(self, signed_in: Browser, api: DemoApi) -> None:
        """After the stream's rotation and before the post, another tab rotated again, and its response got lost."""
        text = session_update(signed_in, api)
        another_tab = signed_in.copy()
        assert another_tab.open_page().status_code == 200
        api.expire_access_tokens()
        assert another_tab.open_page().status_code == 200
        assert another_tab.session().generation == 2

        assert post(signed_in, text).status_code == 204

        assert signed_in.session().generation == 2
        assert signed_in.is_signed_in()
        assert api.count("POST", "/auth/refresh") == 2
        assert api.reuses == 0

    def test_a_browser_that_missed_several_updates_stays_signed_in(self, signed_in: Browser, api: DemoApi) -> None:
        first = session_update(signed_in, api)
        second = session_update(signed_in, api)

        assert post(signed_in, second).status_code == 204
        assert signed_in.session().generation == 2
        assert signed_in.is_signed_in()
        assert_refused(post(signed_in, first))
        assert signed_in.is_signed_in()

    def test_an_unavailable_database_does_not_prevent_the_update(self, signed_in: Browser, api: DemoApi) -> None:
        text = session_update(signed_in, api)

        with records_away():
            assert post(signed_in, text).status_code == 204

        assert signed_in.session().generation == 1
        assert signed_in.is_signed_in()

    def test_the_largest_session_is_accepted(self, signed_in: Browser, api: DemoApi) -> None:
        session_update(signed_in, api)
        another_tab = signed_in.copy()
        another_tab.open_page()
        session = another_tab.session()
        # Random bytes do not compress: 11,000 of them make about 15 KB of cookies.
        large = replace(session, tokens=replace(session.tokens, access=secrets.token_urlsafe(11_000)))
        assert MAX_SESSION_BYTES * 0.9 < len(large.seal_for_cookie()) <= MAX_SESSION_BYTES

        assert post(signed_in, large.seal_for_update()).status_code == 204


class TestRequests:
    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
    def test_only_post_is_allowed(self, signed_in: Browser, api: DemoApi, method: str) -> None:
        body = json.dumps({"session": session_update(signed_in, api)})

        response = signed_in.client.generic(method, ENDPOINT, body, "application/json")

        assert (response.status_code, response["Allow"]) == (405, "POST")
        assert not response.cookies

    def test_another_site_cannot_make_a_browser_post(self, signed_in: Browser, api: DemoApi) -> None:
        text = session_update(signed_in, api)
        strict = Browser(signed_in.take(), csrf_checks=True)
        token = strict.take()["csrftoken"]
        before = strict.take()

        for refused in (
            post(strict, text),
            post(strict, text, HTTP_X_CSRFTOKEN="0" * 64),
            post(strict, text, HTTP_X_CSRFTOKEN=token, HTTP_ORIGIN="https://evil.example"),
        ):
            assert refused.status_code == 403
            assert not cookies_set(refused)
        assert strict.take() == before

        assert post(strict, text, HTTP_X_CSRFTOKEN=token).status_code == 204
        assert strict.session().generation == 1

    def test_a_stream_sets_the_csrf_cookie_that_its_script_needs(self, browser: Browser, api: DemoApi) -> None:
        browser.sign_in()
        browser.drop("csrftoken")
        text = session_update(browser, api)

        strict = Browser(browser.take(), csrf_checks=True)
        assert post(strict, text, HTTP_X_CSRFTOKEN=strict.take()["csrftoken"]).status_code == 204
