"""The proxy for browser scripts: what reaches the browser, and what an unavailable API means for it."""

import gzip
import re

import pytest
from pytest_django import Settings

from protected.proxy import REFUSED_DESTINATIONS
from tests.browsers import Browser, cookies_set
from tests.demo_api.server import DemoApi, Fault
from tests.protected.proxy_calls import (
    EVERYTHING,
    PROXY,
    ROUTE,
    body_of,
    call_proxy,
    only_call,
)


class TestWhatReachesTheBrowser:
    def test_the_apis_response_with_an_allow_list_of_headers(self, signed_in: Browser, api: DemoApi) -> None:
        passed = {
            "Accept-Patch": "application/merge-patch+json",
            "Accept-Ranges": "bytes",
            "Age": "40",
            "Allow": "GET, PUT",
            "Content-Disposition": 'attachment; filename="a.csv"',
            "Content-Language": "fr",
            "Content-Type": "text/csv; charset=utf-8",
            "ETag": '"tide"',
            "Expires": "Mon, 23 Nov 2026 00:00:00 GMT",
            "Last-Modified": "Mon, 23 Nov 2026 00:00:00 GMT",
            "Link": '</a>; rel="next"',
            "Preference-Applied": "return=minimal",
            "Retry-After": "7",
        }
        kept = {
            "Set-Cookie": "session=theirs; Path=/",
            "Server": "pier/1.0",
            "X-Powered-By": "the tide",
            "Strict-Transport-Security": "max-age=1",
            "Content-Security-Policy": "default-src *",
            "Access-Control-Allow-Origin": "*",
            "WWW-Authenticate": "Bearer",
            "Location": "https://evil.example/",
            "Keep-Alive": "timeout=9",
            "Date": "Mon, 23 Nov 2026 00:00:00 GMT",
            "Clear-Site-Data": '"cookies"',
        }
        api.fail("GET", ROUTE, Fault.answer(200, b"a,b\r\n", headers=passed | kept))
        before = signed_in.take()

        response = call_proxy(signed_in, PROXY)

        assert response.content == b"a,b\r\n"
        assert {name: response[name] for name in passed} == passed
        assert response["Content-Length"] == "5"
        for name, value in kept.items():
            assert response.get(name) != value, name
        assert not response.cookies
        assert signed_in.take() == before

    def test_a_cookie_of_the_api_is_dropped_even_if_ours_is_set(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        api.fail("GET", ROUTE, Fault.delay(0))
        api.fail("GET", ROUTE, Fault.answer(200, b"{}", headers={"Set-Cookie": "session=theirs; Path=/"}))

        response = call_proxy(signed_in, PROXY)

        assert response.status_code == 200
        assert list(response.cookies) == ["session"]
        assert response.cookies["session"].value != "theirs"
        assert signed_in.session().generation == 1

    @pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 400, 403, 404, 409, 410, 418, 422, 429, 500, 502, 503])
    def test_status_and_body_are_the_apis_own(self, signed_in: Browser, api: DemoApi, status: int) -> None:
        body = b"" if status == 204 else b'{"message": "the tide is out"}'
        api.fail("GET", ROUTE, Fault.answer(status, body))
        api.forget_calls()

        response = call_proxy(signed_in, PROXY)

        assert (response.status_code, response.content) == (status, body)
        assert len(api.calls) == 1
        assert not cookies_set(response)
        assert signed_in.is_signed_in()

    @pytest.mark.parametrize("status", [600, 777, 999])
    def test_a_status_that_http_does_not_have_is_a_503(self, signed_in: Browser, api: DemoApi, status: int) -> None:
        api.fail("GET", ROUTE, Fault.answer(status, b"{}"))

        assert call_proxy(signed_in, PROXY).status_code == 503
        assert signed_in.is_signed_in()

    @pytest.mark.parametrize(
        ("value", "passed"),
        [
            ("a\r\n b", "a b"),
            ("a\x00b", "a b"),
            ("a\x0bb\x1fc", "a b c"),
            ("a\x7fb", "a b"),
            ("a\tb", "a\tb"),
            ("\xe9", "\xe9"),
        ],
        ids=["folded", "a NUL", "controls", "a delete", "a tab", "Latin 1"],
    )
    def test_control_characters_in_a_header_become_spaces(
        self, signed_in: Browser, api: DemoApi, value: str, passed: str
    ) -> None:
        api.fail("GET", ROUTE, Fault.answer(200, b"{}", headers={"Link": value}))

        assert re.sub(" +", " ", call_proxy(signed_in, PROXY)["Link"]) == passed

    @pytest.mark.parametrize(
        ("status", "body", "length"), [(200, b"{}", "2, 2"), (204, b"", "0")], ids=["twice", "of a 204"]
    )
    def test_an_invalid_length_is_not_passed_on(
        self, signed_in: Browser, api: DemoApi, status: int, body: bytes, length: str
    ) -> None:
        api.fail("GET", ROUTE, Fault.answer(status, body, headers={"Content-Length": length}))

        response = call_proxy(signed_in, PROXY)

        assert (response.status_code, response.content) == (status, body)
        assert "Content-Length" not in response

    def test_an_etag_saves_the_body(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", ROUTE, Fault.answer(200, b"{}", headers={"ETag": 'W/"7"', "Vary": "Accept-Encoding"}))
        first = call_proxy(signed_in, PROXY)
        api.fail("GET", ROUTE, Fault.answer(304, headers={"ETag": 'W/"7"', "Vary": "Accept-Encoding"}))

        second = call_proxy(signed_in, PROXY, HTTP_IF_NONE_MATCH=first["ETag"])

        assert api.calls[-1].headers["if-none-match"] == 'W/"7"'
        assert (second.status_code, second.content, second["ETag"]) == (304, b"", 'W/"7"')
        assert {name.strip() for name in second["Vary"].split(",")} == {"Accept-Encoding", "Cookie"}

    def test_an_encoded_body_passes_as_it_is(self, signed_in: Browser, api: DemoApi) -> None:
        packed = gzip.compress(b'{"data": "tide"}')
        headers = {"Content-Encoding": "gzip", "ETag": '"packed"'}
        api.fail("GET", ROUTE, Fault.answer(200, packed, headers=headers))

        response = call_proxy(signed_in, PROXY, HTTP_ACCEPT_ENCODING="gzip")

        assert response.content == packed
        assert (response["Content-Encoding"], response["ETag"]) == ("gzip", '"packed"')
        assert response["Content-Length"] == str(len(packed))
        assert only_call(api).headers["accept-encoding"] == "gzip"

    def test_a_browser_that_accepts_no_encoding_gets_none(self, signed_in: Browser, api: DemoApi) -> None:
        call_proxy(signed_in, PROXY)

        assert only_call(api).headers["accept-encoding"] == "identity"

    def test_shared_caches_do_not_store_it(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", ROUTE, Fault.answer(200, b"{}", headers={"Cache-Control": "public, s-maxage=60, max-age=60"}))

        response = call_proxy(signed_in, PROXY)

        words = {word.strip() for word in response["Cache-Control"].split(",")}
        assert "private" in words
        assert "public" not in words
        assert "max-age=60" in words
        assert "Cookie" in response["Vary"]

    def test_a_script_in_the_apis_response_does_not_run_on_this_site(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", ROUTE, Fault.answer(200, b"<script>alert(1)</script>", "text/html"))

        response = call_proxy(signed_in, PROXY)

        assert response["Content-Security-Policy"] == "sandbox; default-src 'none'"
        assert response["X-Content-Type-Options"] == "nosniff"

    @pytest.mark.parametrize("purpose", REFUSED_DESTINATIONS)
    def test_a_page_cannot_use_a_response_as_code(self, signed_in: Browser, api: DemoApi, purpose: str) -> None:
        api.forget_calls()

        response = call_proxy(signed_in, PROXY, HTTP_SEC_FETCH_DEST=purpose, HTTP_SEC_FETCH_SITE="same-origin")

        assert response.status_code == 403
        assert "cannot use a response of the API as code" in body_of(response)["detail"]
        assert api.calls == []

    @pytest.mark.parametrize("purpose", ["empty", "document", "image", "video", "audio", "font", "track", "report"])
    def test_a_page_can_use_a_response_as_anything_else(self, signed_in: Browser, purpose: str) -> None:
        assert call_proxy(signed_in, PROXY, HTTP_SEC_FETCH_DEST=purpose).status_code == 200

    def test_a_response_to_head_has_no_body(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("HEAD", ROUTE, Fault.answer(200, headers={"ETag": '"7"', "Content-Length": "99"}))

        response = call_proxy(signed_in, PROXY, method="HEAD")

        assert (response.status_code, response["ETag"], response.content) == (200, '"7"', b"")
        assert only_call(api).method == "HEAD"


class TestAnUnavailableApi:
    @pytest.mark.parametrize(
        "fault", [Fault.delay(5), Fault.reset(), Fault.lose_answer()], ids=["a timeout", "a reset", "a lost answer"]
    )
    def test_it_is_a_503_and_the_session_stays(
        self, signed_in: Browser, api: DemoApi, settings: Settings, fault: Fault
    ) -> None:
        settings.API_READ_TIMEOUT = 0.3
        api.fail("GET", ROUTE, fault, times=2)
        before = signed_in.take()

        response = call_proxy(signed_in, PROXY)

        assert (response.status_code, response["Retry-After"]) == (503, "5")
        assert list(body_of(response)) == ["detail"]
        assert signed_in.take() == before
        api.heal()
        settings.API_READ_TIMEOUT = 10
        assert signed_in.is_signed_in()

    def test_a_call_that_changes_something_is_not_sent_twice(
        self, signed_in: Browser, api: DemoApi, settings: Settings
    ) -> None:
        settings.API_PROXY_ALLOW = EVERYTHING
        api.fail("POST", ROUTE, Fault.lose_answer(), times=None)
        api.forget_calls()

        assert call_proxy(signed_in, PROXY, method="POST", body=b"{}").status_code == 503

        assert len(api.calls) == 1

    def test_no_connection_to_the_api(self, signed_in: Browser, api: DemoApi) -> None:
        api.stop_serving()

        script = call_proxy(signed_in, PROXY)
        htmx = call_proxy(signed_in, PROXY, HTTP_ACCEPT="*/*", HTTP_HX_REQUEST="true")
        person = call_proxy(signed_in, PROXY, HTTP_ACCEPT="text/html")

        assert {each.status_code for each in (script, htmx, person)} == {503}
        assert all(int(each["Retry-After"]) > 0 for each in (script, htmx, person))
        assert list(body_of(script)) == ["detail"]
        assert list(body_of(htmx)) == ["detail"]
        assert "it is safe to try again" in person.content.decode()
        api.start_serving()
        assert signed_in.is_signed_in()

    def test_a_refresh_without_a_response(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.answer(503, headers={"Retry-After": "17"}))

        response = call_proxy(signed_in, PROXY)

        assert (response.status_code, response["Retry-After"]) == (503, "17")
        assert not cookies_set(response)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_not_followed_and_not_passed_on(self, signed_in: Browser, api: DemoApi, status: int) -> None:
        api.fail("GET", ROUTE, Fault.answer(status, headers={"Location": f"{api.url}/protected-route/rows/1"}))
        api.forget_calls()

        response = call_proxy(signed_in, PROXY)

        assert response.status_code == 502
        assert list(body_of(response)) == ["detail"]
        assert "Location" not in response
        assert len(api.calls) == 1
        assert signed_in.is_signed_in()
