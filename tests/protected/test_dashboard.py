"""The protected page: what it shows, and which calls reach the API when the browser loads it."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts.models import EndReason, SessionRecord
from tests.browsers import ADA, Browser, cookies_set, wait_until
from tests.demo_api.server import DemoApi, Fault, Gate

TO_SIGN_IN = "/accounts/login/?next=%2Fprotected%2F"
EXPIRED_AND_RENEWED = [
    ("GET", "/protected-route", 401),
    ("POST", "/auth/refresh", 200),
    ("GET", "/protected-route", 200),
]
SHAPES = {
    "text": (b'{"data": "high tide at noon"}', "high tide at noon"),
    "a table": (b'{"data": [{"pier": "north"}, {"pier": "south", "open": true}]}', '<th scope="col">open</th>'),
    "an object": (b'{"data": {"pier": "north"}}', "&quot;pier&quot;: &quot;north&quot;"),
    "nothing around it": (b'[{"pier": "north"}]', '<th scope="col">pier</th>'),
    "a mixed list": (b'{"data": [1, {"pier": "north"}]}', "north"),
    "an empty list": (b'{"data": []}', "[]"),
    "nothing": (b'{"data": null}', "null"),
    "a number": (b"7", "7"),
    "markup": (b'{"data": "<script>alert(1)</script>"}', "&lt;script&gt;alert(1)&lt;/script&gt;"),
    "markup in a table": (b'{"data": [{"<b>pier</b>": "<i>north</i>"}]}', "&lt;i&gt;north&lt;/i&gt;"),
    "other letters": ('{"data": "Ebbe über Brücken 🌊"}'.encode(), "Ebbe über Brücken 🌊"),
    "half a surrogate pair": (b'{"data": [{"pier": "\\ud800"}]}', "<table>"),
}
UNUSABLE = {
    "HTML": Fault.answer(200, b"<h1>Hello</h1>", "text/html"),
    "nothing": Fault.answer(200),
    "nothing, and it says so": Fault.answer(204),
    "half an answer": Fault.answer(200, b'{"data": "hal'),
    "a redirect": Fault.answer(302, headers={"Location": "https://evil.example/"}),
    "a redirect to nowhere": Fault.answer(302),
    "403": Fault.answer(403, {"message": "Not yours."}),
    "JSON nested too deep": Fault.answer(200, b'{"data": ' + b"[" * 100_000),
    "a number with too many digits": Fault.answer(200, b"9" * 5000),
    "a charset that is none": Fault.answer(200, b"\xff", "application/json; charset=undefined"),
}
if sys.version_info < (3, 13):  # From then on, what can be parsed can be shown.
    UNUSABLE["JSON nested deeper than can be shown"] = Fault.answer(200, b'{"data": ' + b"[" * 970 + b"]" * 970 + b"}")
UNAVAILABLE = {
    "500": Fault.answer(500, {"message": "Out of ink."}),
    "502 in HTML": Fault.answer(502, b"<h1>Bad Gateway</h1>", "text/html"),
    "503": Fault.answer(503),
    "an answer that does not come": Fault.delay(5),
    "no gzip, though it says so": Fault.answer(200, b"plain", headers={"Content-Encoding": "gzip"}),
    "a status beyond HTTP's": Fault.answer(700, b"{}"),
    "two lengths": Fault.answer(200, b"{}", headers={"Content-Length": "2, 7", "Connection": "close"}),
}
# Each leaves it unknown whether the refresh token is still valid, so the session stays.
UNKNOWN_RESULT = {
    "500": Fault.answer(500, {"message": "Out of ink."}),
    "503 and when to come back": Fault.answer(503, headers={"Retry-After": "2"}),
    "429": Fault.answer(429, {"message": "Slow down."}),
    "408": Fault.answer(408, {"message": "Too slow."}),
    "403": Fault.answer(403, {"message": "Blocked."}),
    "a reset": Fault.reset(),
    "half an answer": Fault.answer(200, b'{"acc', headers={"Content-Length": "900", "Connection": "close"}),
    "HTML with 200": Fault.answer(200, b"<h1>Hello</h1>", "text/html"),
    "HTML with 400": Fault.answer(400, b"<h1>Bad Request</h1>", "text/html"),
    "HTML with 401": Fault.answer(401, b"<h1>Unauthorized</h1>", "text/html"),
    "HTML with 404": Fault.answer(404, b"<h1>Not Found</h1>", "text/html"),
    "401 in JSON of another shape": Fault.answer(401, {"error": "invalid_token"}),
    "401 with a message that is no text": Fault.answer(401, {"message": ["no"]}),
    "JSON that is no object": Fault.answer(200, b"[]"),
    "JSON without tokens": Fault.answer(200, {"status": "ok"}),
    "tokens that are none": Fault.answer(200, {"accessToken": None, "refreshToken": 7}),
    "nested too deep": Fault.answer(200, b"[" * 100_000),
    "a redirect": Fault.answer(307, headers={"Location": "/auth/login"}),
    "nothing": Fault.answer(200),
    "nothing, and it says so": Fault.answer(204),
}


def sent(api: DemoApi) -> list[tuple[str, str, int]]:
    return [(call.method, call.path, call.status) for call in api.calls]


class TestContent:
    def test_the_apis_data_and_who_is_signed_in(self, signed_in: Browser) -> None:
        page = signed_in.open_page().text

        assert ADA in page
        assert "Generation 0" in page
        for word in ("station", "North Pier", "2.31", "Outer Beacon", "SW 5"):
            assert word in page

    @pytest.mark.parametrize(("body", "shown"), SHAPES.values(), ids=SHAPES)
    def test_data_of_every_shape(self, signed_in: Browser, api: DemoApi, body: bytes, shown: str) -> None:
        api.fail("GET", "/protected-route", Fault.answer(200, body))

        response = signed_in.open_page()

        assert response.status_code == 200
        assert shown in response.text

    @pytest.mark.parametrize("body", [b"<h1>Not Found</h1>", b'{"message": "No."}', b""])
    def test_an_api_without_this_path_is_named_with_the_file_to_edit(
        self, signed_in: Browser, api: DemoApi, body: bytes
    ) -> None:
        api.fail("GET", "/protected-route", Fault.answer(404, body, "text/html"))

        response = signed_in.open_page()

        assert response.status_code == 200
        assert "<code>GET /protected-route</code> with <code>404 Not Found</code>" in response.text
        assert "<code>protected/views.py</code>" in response.text
        assert ADA in response.text
        assert "Sign out" in response.text
        assert "The same data" not in response.text, "these pages need the same path"

    def test_no_token_and_no_part_of_the_cookie(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        page = signed_in.open_page().text

        session = signed_in.session()
        for secret in (
            session.tokens.access,
            session.tokens.refresh,
            session.secret.hex(),
            signed_in.take()["session"],
        ):
            assert secret not in page

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
    def test_only_get_is_allowed(self, signed_in: Browser, method: str) -> None:
        assert signed_in.client.generic(method, "/protected/").status_code == 405

    def test_a_head_request_is_answered_without_a_body(self, signed_in: Browser) -> None:
        response = signed_in.client.head("/protected/")

        assert (response.status_code, response.content) == (200, b"")


class TestRefresh:
    def test_the_api_gets_the_access_token_and_nothing_of_the_browser(self, signed_in: Browser, api: DemoApi) -> None:
        signed_in.put({**signed_in.take(), "tracker": "7"})
        api.forget_calls()

        signed_in.open_page()

        [call] = api.calls
        assert call.headers["authorization"] == f"Bearer {signed_in.session().tokens.access}"
        assert "cookie" not in call.headers

    def test_an_expired_access_token_is_refreshed_and_the_page_renders(self, signed_in: Browser, api: DemoApi) -> None:
        assert signed_in.open_page().status_code == 200
        api.expire_access_tokens()
        api.forget_calls()

        response = signed_in.open_page()

        assert response.status_code == 200
        assert "North Pier" in response.text
        assert sent(api) == EXPIRED_AND_RENEWED
        assert signed_in.session().generation == 1

    def test_the_new_cookie_comes_with_the_same_page(self, signed_in: Browser, api: DemoApi) -> None:
        before = signed_in.session()
        api.expire_access_tokens()

        cookie = cookies_set(signed_in.open_page())["session"]

        assert cookie["httponly"] is True
        assert (cookie["samesite"], cookie["path"]) == ("Lax", "/")
        after = signed_in.session()
        assert (after.id, after.secret, after.user) == (before.id, before.secret, before.user)
        assert after.tokens.access != before.tokens.access
        assert after.tokens.refresh != before.tokens.refresh

    def test_reloading_works_without_another_refresh(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        signed_in.open_page()
        api.forget_calls()

        for _ in range(3):
            assert signed_in.open_page().status_code == 200

        assert sent(api) == [("GET", "/protected-route", 200)] * 3
        with CaptureQueriesContext(connection) as queries:
            signed_in.open_page()
        assert len(queries) == 0

    def test_a_token_that_has_expired_by_our_own_clock_is_refreshed_first(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        api.advance_clock(61)
        signed_in.age(61)
        api.forget_calls()

        assert signed_in.open_page().status_code == 200

        assert sent(api) == EXPIRED_AND_RENEWED[1:]

    def test_many_generations_later_it_is_still_the_same_session(self, signed_in: Browser, api: DemoApi) -> None:
        session_id = signed_in.session().id

        for generation in range(1, 6):
            api.expire_access_tokens()
            assert signed_in.open_page().status_code == 200
            assert signed_in.session().generation == generation

        assert signed_in.session().id == session_id
        assert set(api.refresh_spends.values()) == {1}
        assert api.reuses == 0

    def test_twenty_tabs_at_the_moment_of_expiry_share_one_refresh(self, signed_in: Browser, api: DemoApi) -> None:
        tabs = [signed_in.copy() for _ in range(20)]
        api.expire_access_tokens()

        def open_page(tab: Browser) -> int:
            try:
                return tab.open_page().status_code
            finally:
                connections.close_all()

        with Gate() as gate, ThreadPoolExecutor(len(tabs)) as threads:
            api.fail("POST", "/auth/refresh", Fault.hold_before(gate))
            pages = [threads.submit(open_page, tab) for tab in tabs]
            wait_until(lambda: api.count("GET", "/protected-route", 401) == len(tabs))
            gate.release()
            assert [page.result(30) for page in pages] == [200] * len(tabs)

        assert api.count("POST", "/auth/refresh") == 1
        assert {tab.session().generation for tab in tabs} == {1}
        assert all(tab.is_signed_in() for tab in tabs)


class TestRefusedRefresh:
    def test_it_leads_to_the_sign_in_page_and_back(self, signed_in: Browser, api: DemoApi) -> None:
        api.revoke_all()
        api.forget_calls()

        response = signed_in.open_page()

        assert (response.status_code, response["Location"]) == (302, f"{TO_SIGN_IN}&ended=1")
        refused = ("POST", "/auth/refresh", 401)
        call, *refresh, (_, nowhere, status), refresh_again = sent(api)
        assert (call, refresh, refresh_again) == (("GET", "/protected-route", 401), [refused], refused)
        assert (nowhere.startswith("/auth/no-such-path-"), status) == (True, 404)
        cookie = cookies_set(response)["session"]
        assert (cookie.value, cookie["max-age"]) == ("", 0)
        assert response["Cache-Control"] == "private, no-store"
        assert SessionRecord.objects.get().end_reason == EndReason.REFUSED
        assert SessionRecord.objects.get().sealed == ""
        assert signed_in.sign_in(next="/protected/")["Location"] == "/protected/"
        assert signed_in.is_signed_in()

    def test_a_refresh_token_that_has_expired_ends_the_session_as_expired(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        api.advance_clock(3600)
        signed_in.age(3600)

        assert signed_in.open_page()["Location"] == f"{TO_SIGN_IN}&ended=1"

        assert SessionRecord.objects.get().end_reason == EndReason.EXPIRED

    def test_a_wrong_clock_does_not_end_the_session(self, signed_in: Browser, api: DemoApi) -> None:
        """Our clock says that the refresh token has expired, but only the API decides."""
        api.expire_access_tokens()
        signed_in.age(3600)

        assert signed_in.open_page().status_code == 200

    def test_the_next_visit_does_not_ask_the_api_again(self, signed_in: Browser, api: DemoApi) -> None:
        copy = signed_in.copy()
        api.revoke_all()
        signed_in.open_page()
        api.forget_calls()

        assert copy.open_page()["Location"] == f"{TO_SIGN_IN}&ended=1"

        assert api.count("POST", "/auth/refresh") == 0


class TestRefreshWithoutAUsableResponse:
    @pytest.mark.parametrize("fault", UNKNOWN_RESULT.values(), ids=UNKNOWN_RESULT)
    def test_it_is_a_503_and_the_session_stays(self, signed_in: Browser, api: DemoApi, fault: Fault) -> None:
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", fault)
        before = signed_in.session()

        response = signed_in.open_page()

        assert response.status_code == 503
        assert int(response["Retry-After"]) > 0
        assert not cookies_set(response)
        assert signed_in.session() == before
        assert api.count("POST", "/auth/refresh") == 1
        assert api.count("POST", "/auth/login") == 1, "no redirect was followed"
        SessionRecord.objects.update(retry_at=None)  # the pause before the next attempt has passed
        assert signed_in.is_signed_in()
        assert signed_in.session().generation == 1
        assert api.reuses == 0

    def test_a_timeout_is_a_503_and_it_stays(self, signed_in: Browser, api: DemoApi, settings: Settings) -> None:
        settings.API_CONNECT_TIMEOUT, settings.API_READ_TIMEOUT = 0.5, 0.5
        api.expire_access_tokens()
        with Gate() as gate:
            api.fail("POST", "/auth/refresh", Fault.hold_before(gate))
            response = signed_in.open_page()
            assert gate.reached.wait(30)
            api.stop_serving()  # ends the request that still waits
        assert gate.arrivals == 1
        assert response.status_code == 503
        assert not cookies_set(response)

        settings.API_READ_TIMEOUT = 10
        api.start_serving()
        SessionRecord.objects.update(retry_at=None)  # the pause before the next attempt has passed
        assert signed_in.is_signed_in()
        assert api.reuses == 0

    def test_the_pause_before_the_next_attempt_ends_by_itself(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.answer(500, headers={"Retry-After": "2"}))
        assert signed_in.open_page().status_code == 503

        during = signed_in.open_page()
        asked = api.count("POST", "/auth/refresh")
        wait_until(signed_in.is_signed_in)

        assert (during.status_code, asked) == (503, 1), "the API is not called during the pause"
        assert api.count("POST", "/auth/refresh") == 2

    def test_retry_after_comes_from_the_api(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.answer(503, headers={"Retry-After": "17"}))

        first, second = signed_in.open_page(), signed_in.open_page()

        assert first["Retry-After"] == "17"
        assert 1 <= int(second["Retry-After"]) <= 17
        assert api.count("POST", "/auth/refresh") == 1

    def test_a_refused_connection_is_a_503_and_the_session_stays(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        signed_in.age(61)
        api.stop_serving()

        assert signed_in.open_page().status_code == 503

        api.start_serving()
        SessionRecord.objects.update(retry_at=None)  # the pause before the next attempt has passed
        assert signed_in.is_signed_in()


class TestUnusableResponse:
    @pytest.mark.parametrize("fault", UNUSABLE.values(), ids=UNUSABLE)
    def test_it_is_a_502_and_the_session_stays(self, signed_in: Browser, api: DemoApi, fault: Fault) -> None:
        api.fail("GET", "/protected-route", fault)
        api.forget_calls()

        response = signed_in.open_page()

        assert response.status_code == 502
        assert "a response that we cannot use" in response.text
        assert not cookies_set(response)
        assert len(api.calls) == 1
        assert signed_in.is_signed_in()

    @pytest.mark.parametrize("fault", UNAVAILABLE.values(), ids=UNAVAILABLE)
    def test_an_unavailable_api_is_a_503_and_the_session_stays(
        self, signed_in: Browser, api: DemoApi, settings: Settings, fault: Fault
    ) -> None:
        settings.API_READ_TIMEOUT = 0.3
        api.fail("GET", "/protected-route", fault, times=2)

        response = signed_in.open_page()

        assert (response.status_code, response["Retry-After"]) == (503, "5")
        assert "is not answering" in response.text
        assert not cookies_set(response)
        settings.API_READ_TIMEOUT = 10
        api.heal()
        assert signed_in.is_signed_in()
