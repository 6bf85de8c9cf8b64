"""request.api: the request that a view's call sends, its repetition after a 401, and the response for the view."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import responses
from django.http import HttpResponse
from pytest_django import Settings

from accounts.api_client import ApiRequest
from tests.accounts.api_calls import REFRESHED, SECRET, call, sent
from tests.browsers import GRACE, Browser, cookies_set
from tests.demo_api.server import DemoApi, Fault

pytestmark = pytest.mark.urls("tests.accounts.api_calls")

METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
# Arguments whose body can be sent twice, and its bytes.
BODIES: dict[str, tuple[dict[str, Any], bytes]] = {
    "nothing": ({}, b""),
    "a JSON object": ({"json": {"pier": "north"}}, b'{"pier": "north"}'),
    "a JSON list": ({"json": [1, 2]}, b"[1, 2]"),
    "an empty JSON list": ({"json": []}, b"[]"),
    "a form": ({"data": {"pier": "north", "rows": "3"}}, b"pier=north&rows=3"),
    "a form as a list": ({"data": [("pier", "north"), ("pier", "south")]}, b"pier=north&pier=south"),
    "a form as a tuple": ({"data": (("pier", "north"),)}, b"pier=north"),
    "text": ({"data": "high tide at noon"}, b"high tide at noon"),
    "text in other letters": ({"data": "Ebbe \U0001f30a"}, "Ebbe \U0001f30a".encode()),
    "bytes": ({"data": b"\x00\xff"}, b"\x00\xff"),
}
NOT_RELATIVE = ["https://evil.example/", "protected-route", "", "?a=1", "@evil.example/", " /", r"\evil"]
LEAVING_THE_BASE = [
    "/..",
    "/../admin",
    "/rows/../../admin",
    "/rows/./..",
    "/%2e%2e/admin",
    "/.%2E/admin",
    "/..;/admin",
    "/.%2E%3Bx=1/admin",
]


@pytest.fixture
def signed_in(signed_in: Browser, api: DemoApi) -> Browser:
    """Ada's browser, without the calls of its sign-in."""
    api.forget_calls()
    return signed_in


class TestTheCall:
    def test_it_carries_the_access_token_and_the_views_own_headers(self, signed_in: Browser, api: DemoApi) -> None:
        response = call(signed_in, "GET", params={"rows": "3"}, headers={"X-Pier": "north"})

        assert response.status_code == 200
        [sent] = api.calls
        assert sent.headers["authorization"] == f"Bearer {signed_in.session().tokens.access}"
        assert sent.headers["accept"] == "application/json"
        assert sent.headers["x-pier"] == "north"
        assert sent.query == "rows=3"

    @pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
    def test_the_view_cannot_replace_the_token(self, signed_in: Browser, api: DemoApi, name: str) -> None:
        assert call(signed_in, "GET", headers={name: "Basic eve"}).status_code == 200

        assert api.calls[0].headers["authorization"].startswith("Bearer ")

    @pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
    def test_there_is_a_function_for_every_common_method(self, signed_in: Browser, api: DemoApi, method: str) -> None:
        api.fail(method.upper(), SECRET, Fault.answer(200, {"data": "done"}))

        def view(request: ApiRequest) -> HttpResponse:
            response = getattr(request.api, method)(SECRET, params={"rows": "3"})
            return HttpResponse(response.content)

        assert signed_in.get("/visit/", **{"tests.view": view}).content == b'{"data": "done"}'
        assert [(sent.method, sent.query) for sent in api.calls] == [(method.upper(), "rows=3")]

    def test_it_is_relative_to_the_base_address(self, signed_in: Browser, api: DemoApi, settings: Settings) -> None:
        settings.API_BASE_URL = f"{api.url}/v1/"

        assert call(signed_in, "GET").status_code == 404

        assert [sent.path for sent in api.calls] == ["/v1/protected-route"]

    @pytest.mark.parametrize("elsewhere", [*NOT_RELATIVE, *LEAVING_THE_BASE])
    def test_it_leads_nowhere_else(self, signed_in: Browser, api: DemoApi, elsewhere: str) -> None:
        def view(request: ApiRequest) -> HttpResponse:
            with pytest.raises(ValueError, match="starts with a slash"):
                request.api.get(elsewhere)
            return HttpResponse("refused")

        assert signed_in.get("/visit/", **{"tests.view": view}).content == b"refused"
        assert not api.calls

    @pytest.mark.parametrize(
        "path", ["//evil.example/", r"/\evil.example/", "/@evil.example/", "/https://evil.example/"]
    )
    def test_a_path_that_looks_like_a_host_stays_with_the_api(
        self, signed_in: Browser, api: DemoApi, path: str
    ) -> None:
        assert call(signed_in, "GET", path).status_code == 404

        assert len(api.calls) == 1

    @pytest.mark.parametrize("path", ["/places:searchText", "/places%3AsearchText", "/:@()+=;,!$'*&/b", "/%2F%40%20"])
    def test_a_path_is_escaped_as_the_view_wrote_it(self, signed_in: Browser, api: DemoApi, path: str) -> None:
        call(signed_in, "GET", path)

        assert [sent.path for sent in api.calls] == [path]

    def test_without_a_session_the_api_is_not_called(self, browser: Browser, api: DemoApi) -> None:
        response = call(browser, "GET")

        assert (response.status_code, response["Location"]) == (302, "/accounts/login/?next=%2Fvisit%2F")
        assert not api.calls

    @pytest.mark.parametrize("status", [200, 201, 204, 400, 403, 404, 409, 422, 429, 451])
    def test_the_view_gets_the_apis_own_response(self, signed_in: Browser, api: DemoApi, status: int) -> None:
        body = b"" if status == 204 else b'{"message": "so it is"}'
        api.fail("POST", SECRET, Fault.answer(status, body))

        response = call(signed_in, "POST", json={})

        assert (response.status_code, response.content) == (status, body)
        assert len(api.calls) == 1

    def test_several_calls_of_one_page_refresh_once(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()

        def view(request: ApiRequest) -> HttpResponse:
            return HttpResponse(",".join(str(request.api.get(SECRET).status_code) for _ in range(3)))

        assert signed_in.get("/visit/", **{"tests.view": view}).content == b"200,200,200"
        assert sent(api) == [("GET", SECRET, 401), REFRESHED, *[("GET", SECRET, 200)] * 3]


class TestRepeatedCall:
    @pytest.mark.parametrize("method", METHODS)
    def test_every_method_is_repeated_after_a_401(self, signed_in: Browser, api: DemoApi, method: str) -> None:
        api.expire_access_tokens()
        api.fail(method, SECRET, Fault.answer(401, {"message": "Expired."}))
        api.fail(method, SECRET, Fault.answer(200, {"data": "done"}))

        response = call(signed_in, method, params={"rows": "3"}, headers={"X-Pier": "north"})

        assert response.status_code == 200
        assert sent(api) == [(method, SECRET, 401), REFRESHED, (method, SECRET, 200)]
        first, _, second = api.calls
        assert {sent.query for sent in (first, second)} == {"rows=3"}
        assert {sent.headers["x-pier"] for sent in (first, second)} == {"north"}
        assert first.headers["authorization"] != second.headers["authorization"]
        assert second.headers["authorization"] == f"Bearer {signed_in.session().tokens.access}"

    @pytest.mark.parametrize(("options", "body"), BODIES.values(), ids=BODIES)
    def test_it_sends_the_same_body_again(
        self, signed_in: Browser, api: DemoApi, options: dict[str, Any], body: bytes
    ) -> None:
        api.fail("PUT", SECRET, Fault.answer(401, {"message": "Expired."}))
        api.fail("PUT", SECRET, Fault.answer(200, {"data": "done"}))
        api.expire_access_tokens()

        assert call(signed_in, "PUT", **options).status_code == 200

        first, _, second = api.calls
        assert (first.body, second.body) == (body, body)
        assert first.headers.get("content-type") == second.headers.get("content-type")

    def test_a_body_that_cannot_be_sent_twice_is_a_503(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()

        response = call(signed_in, "POST", data=io.BytesIO(b'{"pier": "north"}'))

        assert (response.status_code, response["Retry-After"]) == (503, "1")
        assert sent(api) == [("POST", SECRET, 401), REFRESHED]
        assert cookies_set(response)
        again = call(signed_in, "POST", data=io.BytesIO(b'{"pier": "north"}'))
        assert again.json() == {"data": {"pier": "north"}}

    @responses.activate
    def test_a_generator_is_a_503(self, signed_in: Browser, api: DemoApi) -> None:
        """The demo API accepts no chunked bodies, so `responses` replaces it."""
        responses.add_passthru(f"{api.url}/auth/")
        responses.post(api.url + SECRET, status=401)
        responses.post(api.url + SECRET, status=201)
        api.expire_access_tokens()

        first, second = (call(signed_in, "POST", data=iter([b"high ", b"tide"])) for _ in range(2))

        assert (first.status_code, first["Retry-After"]) == (503, "1")
        assert second.status_code == 201
        assert sent(api) == [REFRESHED]

    def test_it_is_sent_once_after_a_foreseen_expiry(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        signed_in.age(61)

        assert call(signed_in, "POST", data=io.BytesIO(b'{"pier": "north"}')).status_code == 201

        assert sent(api) == [REFRESHED, ("POST", SECRET, 201)]


class TestCookiesOfTheApi:
    def test_they_are_neither_stored_nor_sent_back(self, signed_in: Browser, api: DemoApi) -> None:
        tracker = {"Set-Cookie": "tracker=ada; Path=/"}
        api.fail("GET", SECRET, Fault.answer(200, {"data": "done"}, headers=tracker))
        assert "tracker" not in call(signed_in, "GET").cookies

        grace = Browser()
        grace.sign_in(GRACE)
        api.expire_access_tokens()
        call(signed_in, "GET")
        call(grace, "POST", json={})

        assert not any("cookie" in sent.headers for sent in api.calls)

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_the_sites_cookies_are_not_sent_to_the_api(self, signed_in: Browser, api: DemoApi, method: str) -> None:
        signed_in.put({**signed_in.take(), "sessionid": "s", "csrftoken": "c", "theme": "dark"})
        api.expire_access_tokens()

        call(signed_in, method, json={})
        signed_in.sign_out()

        assert [sent.path for sent in api.calls] == [SECRET, "/auth/refresh", SECRET, "/auth/logout"]
        assert not any("cookie" in sent.headers for sent in api.calls)


class TestStream:
    @pytest.mark.parametrize("expired", [False, True], ids=["a good token", "an expired one"])
    def test_the_view_reads_the_body_as_it_comes(self, signed_in: Browser, api: DemoApi, expired: bool) -> None:
        size = 300_000
        if expired:
            api.expire_access_tokens()

        def view(request: ApiRequest) -> HttpResponse:
            response = request.api.get("/protected-route/export.csv", params={"bytes": str(size)}, stream=True)
            with response:
                return HttpResponse(str(sum(len(piece) for piece in response.iter_content(4096))))

        response = signed_in.get("/visit/", **{"tests.view": view})

        assert int(response.content) >= size
        assert signed_in.session().generation == int(expired)

    def test_a_stream_that_breaks_off_is_a_502(self, signed_in: Browser, api: DemoApi) -> None:
        headers = {"Content-Length": "900", "Connection": "close"}
        api.fail("GET", SECRET, Fault.answer(200, b'{"data": "hal', headers=headers))

        assert call(signed_in, "GET", stream=True).status_code == 502

        assert signed_in.is_signed_in()


class TestMistakesOfTheView:
    """An argument that cannot be sent is a mistake in the view, not an error of the API."""

    @pytest.mark.parametrize(
        "options",
        [{"json": object()}, {"json": float("nan")}, {"headers": {"X-Pier": "north\r\nX-Evil: 1"}}],
        ids=["not JSON", "not a number", "a header with a line break"],
    )
    def test_it_is_a_500_and_never_sent(self, signed_in: Browser, api: DemoApi, options: dict[str, Any]) -> None:
        assert call(signed_in, "POST", **options).status_code == 500

        assert not api.calls

    def test_an_error_of_another_service_is_a_500(self, signed_in: Browser) -> None:
        def view(request: ApiRequest) -> HttpResponse:
            raise requests.ConnectionError("the weather service is unavailable")

        assert signed_in.get("/visit/", **{"tests.view": view}).status_code == 500


def pieces() -> Iterator[bytes]:
    yield b"high"
    raise RuntimeError("out of ink")


def test_a_body_that_fails_while_it_is_sent_does_not_affect_other_users(signed_in: Browser, api: DemoApi) -> None:
    """Half a request was sent over the connection, so it must not go back to the pool."""
    assert call(signed_in, "POST", data=pieces()).status_code == 500

    grace = Browser()
    grace.sign_in(GRACE)
    assert call(grace, "GET").status_code == 200
    assert call(grace, "POST", json={"pier": "south"}).json() == {"data": {"pier": "south"}}
