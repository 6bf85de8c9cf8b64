"""request.api: what a view's call becomes on the wire, and what every kind of answer becomes for the view."""

import gzip
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import responses
from django.http import HttpResponse
from django.urls import path
from pytest_django import Settings

from accounts.api import ApiRequest
from accounts.upstream.response import MAX_ANSWER_BYTES
from config.urls import urlpatterns as site
from tests.browsers import GRACE, Answer, Browser, cookies_set
from tests.demo_api.server import DemoApi, Fault, Gate

SECRET = "/protected-route"
REFRESHED = ("POST", "/auth/refresh", 200)


def visit(request: ApiRequest) -> HttpResponse:
    """A page whose view each test writes itself."""
    view: Callable[[ApiRequest], HttpResponse] = request.META["tests.view"]
    return view(request)


urlpatterns = [path("visit/", visit), *site]
pytestmark = pytest.mark.urls(__name__)

METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
# What a view may send that can be sent twice, and the bytes of it.
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
NOT_RELATIVE_TO_THE_API = ["https://evil.example/", "protected-route", "", "?a=1", "@evil.example/", " /", r"\evil"]
UP_AND_OUT = [
    "/..",
    "/../admin",
    "/rows/../../admin",
    "/rows/./..",
    "/%2e%2e/admin",
    "/.%2E/admin",
    "/..;/admin",
    "/.%2E%3Bx=1/admin",
]


def call(browser: Browser, method: str, path: str = SECRET, **options: Any) -> Answer:
    """Visit a page whose view makes this call, and answers what the API answered."""

    def view(request: ApiRequest) -> HttpResponse:
        answer = request.api.request(method, path, **options)
        return HttpResponse(answer.content, status=answer.status_code, content_type="application/json")

    return browser.get("/visit/", **{"tests.view": view})


def wire(api: DemoApi) -> list[tuple[str, str, int]]:
    return [(call.method, call.path, call.status) for call in api.calls]


@pytest.fixture
def signed_in(signed_in: Browser, api: DemoApi) -> Browser:
    """Ada's browser; the calls of the sign-in are forgotten."""
    api.forget_calls()
    return signed_in


class TestTheCall:
    def test_it_carries_the_access_token_and_what_the_view_adds(self, signed_in: Browser, api: DemoApi) -> None:
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
    def test_every_common_method_has_a_name(self, signed_in: Browser, api: DemoApi, method: str) -> None:
        api.fail(method.upper(), SECRET, Fault.answer(200, {"data": "done"}))

        def view(request: ApiRequest) -> HttpResponse:
            answer = getattr(request.api, method)(SECRET, params={"rows": "3"})
            return HttpResponse(answer.content)

        assert signed_in.get("/visit/", **{"tests.view": view}).content == b'{"data": "done"}'
        assert [(sent.method, sent.query) for sent in api.calls] == [(method.upper(), "rows=3")]

    def test_it_is_relative_to_the_base_address(self, signed_in: Browser, api: DemoApi, settings: Settings) -> None:
        settings.API_BASE_URL = f"{api.url}/v1/"

        assert call(signed_in, "GET").status_code == 404

        assert [sent.path for sent in api.calls] == ["/v1/protected-route"]

    @pytest.mark.parametrize("elsewhere", [*NOT_RELATIVE_TO_THE_API, *UP_AND_OUT])
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

    def test_nobody_calls_for_a_visitor_who_is_not_signed_in(self, browser: Browser, api: DemoApi) -> None:
        response = call(browser, "GET")

        assert (response.status_code, response["Location"]) == (302, "/accounts/login/?next=%2Fvisit%2F")
        assert not api.calls

    @pytest.mark.parametrize("status", [200, 201, 204, 400, 403, 404, 409, 422, 429, 451])
    def test_the_answer_is_the_apis_own(self, signed_in: Browser, api: DemoApi, status: int) -> None:
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
        assert wire(api) == [("GET", SECRET, 401), REFRESHED, *[("GET", SECRET, 200)] * 3]


class TestARepeatedCall:
    @pytest.mark.parametrize("method", METHODS)
    def test_every_method_is_repeated_after_a_401(self, signed_in: Browser, api: DemoApi, method: str) -> None:
        api.expire_access_tokens()
        api.fail(method, SECRET, Fault.answer(401, {"message": "Expired."}))
        api.fail(method, SECRET, Fault.answer(200, {"data": "done"}))

        response = call(signed_in, method, params={"rows": "3"}, headers={"X-Pier": "north"})

        assert response.status_code == 200
        assert wire(api) == [(method, SECRET, 401), REFRESHED, (method, SECRET, 200)]
        first, _, second = api.calls
        assert {sent.query for sent in (first, second)} == {"rows=3"}
        assert {sent.headers["x-pier"] for sent in (first, second)} == {"north"}
        assert first.headers["authorization"] != second.headers["authorization"]
        assert second.headers["authorization"] == f"Bearer {signed_in.session().tokens.access}"

    @pytest.mark.parametrize(("options", "body"), BODIES.values(), ids=BODIES)
    def test_it_brings_the_same_body(
        self, signed_in: Browser, api: DemoApi, options: dict[str, Any], body: bytes
    ) -> None:
        api.fail("PUT", SECRET, Fault.answer(401, {"message": "Expired."}))
        api.fail("PUT", SECRET, Fault.answer(200, {"data": "done"}))
        api.expire_access_tokens()

        assert call(signed_in, "PUT", **options).status_code == 200

        first, _, second = api.calls
        assert (first.body, second.body) == (body, body)
        assert first.headers.get("content-type") == second.headers.get("content-type")

    def test_a_body_that_cannot_be_sent_twice_costs_a_page(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()

        response = call(signed_in, "POST", data=io.BytesIO(b'{"pier": "north"}'))

        assert (response.status_code, response["Retry-After"]) == (503, "1")
        assert wire(api) == [("POST", SECRET, 401), REFRESHED]
        assert cookies_set(response)
        again = call(signed_in, "POST", data=io.BytesIO(b'{"pier": "north"}'))
        assert again.json() == {"data": {"pier": "north"}}

    @responses.activate
    def test_a_generator_costs_a_page(self, signed_in: Browser, api: DemoApi) -> None:
        """The demo API takes no chunked bodies, so these answers are made up."""
        responses.add_passthru(f"{api.url}/auth/")
        responses.post(api.url + SECRET, status=401)
        responses.post(api.url + SECRET, status=201)
        api.expire_access_tokens()

        first, second = (call(signed_in, "POST", data=iter([b"high ", b"tide"])) for _ in range(2))

        assert (first.status_code, first["Retry-After"]) == (503, "1")
        assert second.status_code == 201
        assert wire(api) == [REFRESHED]

    def test_it_is_sent_once_where_the_expiry_can_be_foreseen(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        signed_in.age(61)

        assert call(signed_in, "POST", data=io.BytesIO(b'{"pier": "north"}')).status_code == 201

        assert wire(api) == [REFRESHED, ("POST", SECRET, 201)]


class TestAContradiction:
    """The API refuses an access token that it calls good itself. That is no end of a session."""

    def test_a_401_to_a_pair_just_minted_is_a_502(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        api.fail("GET", SECRET, Fault.answer(401, {"message": "Never."}), times=2)

        response = call(signed_in, "GET")

        assert response.status_code == 502
        assert "an answer that we cannot use" in response.text
        assert wire(api) == [("GET", SECRET, 401), REFRESHED, ("GET", SECRET, 401)]
        assert signed_in.session().generation == 1
        assert signed_in.is_signed_in()

    def test_so_is_one_to_a_pair_that_was_refreshed_first(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        signed_in.age(61)
        api.fail("GET", SECRET, Fault.answer(401, {"message": "Never."}))

        assert call(signed_in, "GET").status_code == 502

        assert wire(api) == [REFRESHED, ("GET", SECRET, 401)]
        assert signed_in.is_signed_in()

    def test_so_is_one_to_a_token_that_is_still_valid(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", SECRET, Fault.answer(401, {"message": "Never."}), times=2)

        response = call(signed_in, "GET")

        assert response.status_code == 502
        assert wire(api) == [("GET", SECRET, 401), ("POST", "/auth/refresh", 400), ("GET", SECRET, 401)]
        assert not cookies_set(response)
        assert signed_in.is_signed_in()

    def test_a_slip_is_forgiven(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", SECRET, Fault.answer(401, b"<h1>Unauthorized</h1>", "text/html"))

        response = call(signed_in, "GET")

        assert response.status_code == 200
        assert not cookies_set(response)
        assert signed_in.session().generation == 0

    def test_tokens_that_are_dead_on_arrival_come_to_an_end(self, settings: Settings, transactional_db: None) -> None:
        with DemoApi(access_ttl=0) as api:
            settings.API_BASE_URL = api.url
            browser = Browser()
            browser.sign_in()

            response = call(browser, "GET")

            assert response.status_code == 503
            assert api.count("GET", SECRET, 401) == 5
            assert set(api.refresh_spends.values()) == {1}
            assert browser.session().generation == len(api.refresh_spends)
            assert browser.record().ended_at is None


class TestTheAnswersBody:
    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (b"<h1>Hello</h1>", "text/html"),
            (b"[" * 100_000, "application/json"),
            (b"9" * 5000, "application/json"),
            (b"\xff{}", "application/json; charset=idna"),
            (b"\xff{}", "application/json; charset=undefined"),
            (b"\xff{}", "application/json; charset=hex"),
        ],
        ids=["HTML", "nested beyond measure", "a number beyond measure", "idna", "undefined", "no charset of text"],
    )
    def test_what_is_no_json_is_a_502_whatever_it_is(
        self, signed_in: Browser, api: DemoApi, body: bytes, content_type: str
    ) -> None:
        api.fail("GET", SECRET, Fault.answer(200, body, content_type))

        def view(request: ApiRequest) -> HttpResponse:
            with pytest.raises(requests.JSONDecodeError):
                request.api.get(SECRET).json()
            return HttpResponse(request.api.get(SECRET).json())

        api.fail("GET", SECRET, Fault.answer(200, body, content_type))
        assert signed_in.get("/visit/", **{"tests.view": view}).status_code == 502

    @pytest.mark.parametrize("charset", ["idna", "undefined", "hex", "no-such"])
    def test_text_in_a_charset_that_is_none_is_text(self, signed_in: Browser, api: DemoApi, charset: str) -> None:
        api.fail("GET", SECRET, Fault.answer(200, b"high tide\xff", f"text/plain; charset={charset}"))

        def view(request: ApiRequest) -> HttpResponse:
            return HttpResponse(request.api.get(SECRET).text)

        assert signed_in.get("/visit/", **{"tests.view": view}).text == "high tide\N{REPLACEMENT CHARACTER}"

    @pytest.mark.parametrize("packed", [False, True], ids=["as it is", "packed"])
    @pytest.mark.parametrize(("more", "status"), [(0, 200), (1, 502)], ids=["the largest", "larger"])
    def test_what_is_read_whole_has_a_limit(
        self, signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture, packed: bool, more: int, status: int
    ) -> None:
        body = bytes(MAX_ANSWER_BYTES + more)
        encoding = {"Content-Encoding": "gzip"} if packed else {}
        api.fail("GET", SECRET, Fault.answer(200, gzip.compress(body) if packed else body, headers=encoding))

        response = call(signed_in, "GET")

        assert response.status_code == status
        assert ("MAX_ANSWER_BYTES" in caplog.text) == (status == 502)
        assert signed_in.is_signed_in()

    def test_what_is_read_in_pieces_has_none(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", SECRET, Fault.answer(200, bytes(MAX_ANSWER_BYTES * 2)))

        def view(request: ApiRequest) -> HttpResponse:
            pieces = request.api.get(SECRET, stream=True).iter_content(1024 * 1024)
            return HttpResponse(str(sum(map(len, pieces))))

        assert signed_in.get("/visit/", **{"tests.view": view}).text == str(MAX_ANSWER_BYTES * 2)


class TestAnApiThatFails:
    @pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 520, 599, 600, 999])
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_5xx_is_a_503(self, signed_in: Browser, api: DemoApi, method: str, status: int) -> None:
        api.fail(method, SECRET, Fault.answer(status, b"<h1>Sorry</h1>", "text/html", {"Retry-After": "9"}))

        response = call(signed_in, method)

        assert (response.status_code, response["Retry-After"]) == (503, "9")
        assert "Sorry" not in response.text
        assert len(api.calls) == 1

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_never_followed(self, signed_in: Browser, api: DemoApi, status: int) -> None:
        with DemoApi() as elsewhere:
            api.fail("GET", SECRET, Fault.answer(status, headers={"Location": elsewhere.url + SECRET}))

            assert call(signed_in, "GET").status_code == 502

            assert not elsewhere.calls
        assert len(api.calls) == 1

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_no_answer_in_time_is_a_503(
        self, signed_in: Browser, api: DemoApi, settings: Settings, method: str
    ) -> None:
        settings.API_READ_TIMEOUT = 0.2
        with Gate() as gate:
            api.fail(method, SECRET, Fault.hold_before(gate))

            response = call(signed_in, method)

            assert (response.status_code, response["Retry-After"]) == (503, "5")
            assert gate.reached.wait(30)
            assert gate.arrivals == 1, "a request that takes too long is not made twice"

    def test_nor_one_whose_answer_stalls(self, signed_in: Browser, api: DemoApi, settings: Settings) -> None:
        settings.API_READ_TIMEOUT = 0.2
        api.fail("GET", SECRET, Fault.answer(200, b'{"data": "hal', headers={"Content-Length": "900"}), times=2)

        assert call(signed_in, "GET").status_code == 503

        assert len(api.calls) == 1

    def test_an_answer_that_stops_half_way_is_a_503(self, signed_in: Browser, api: DemoApi, settings: Settings) -> None:
        headers = {"Content-Length": "900", "Connection": "close"}
        api.fail("GET", SECRET, Fault.answer(200, b'{"data": "hal', headers=headers), times=2)

        assert call(signed_in, "GET").status_code == 503
        assert call(signed_in, "GET").status_code == 200

    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
    def test_a_broken_connection_is_made_good_once_where_that_is_safe(
        self, signed_in: Browser, api: DemoApi, method: str
    ) -> None:
        api.fail(method, SECRET, Fault.reset())
        api.fail(method, SECRET, Fault.answer(200, {"data": "done"}))

        assert call(signed_in, method).status_code == 200

        assert [sent.fault for sent in api.calls] == ["reset", "answer"]

    def test_and_only_once(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", SECRET, Fault.reset(), times=None)

        assert call(signed_in, "GET").status_code == 503

        assert len(api.calls) == 2

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    @pytest.mark.parametrize("fault", [Fault.reset(), Fault.lose_answer()], ids=["not done", "done"])
    def test_but_not_where_the_api_may_have_acted(
        self, signed_in: Browser, api: DemoApi, method: str, fault: Fault
    ) -> None:
        api.fail(method, SECRET, fault)

        assert call(signed_in, method, json={"pieces": 3}).status_code == 503

        assert len(api.calls) == 1

    def test_one_that_was_restarted_is_called_over_new_connections(self, signed_in: Browser, api: DemoApi) -> None:
        assert call(signed_in, "GET").status_code == 200
        api.stop_serving()
        assert call(signed_in, "GET").status_code == 503
        api.start_serving()

        assert call(signed_in, "POST", json={}).status_code == 201
        assert call(signed_in, "GET").status_code == 200


class TestCookiesOfTheApi:
    def test_they_never_come_back_and_are_kept_for_nobody(self, signed_in: Browser, api: DemoApi) -> None:
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
    def test_ours_stay_with_us(self, signed_in: Browser, api: DemoApi, method: str) -> None:
        signed_in.put({**signed_in.take(), "sessionid": "s", "csrftoken": "c", "theme": "dark"})
        api.expire_access_tokens()

        call(signed_in, method, json={})
        signed_in.sign_out()

        assert [sent.path for sent in api.calls] == [SECRET, "/auth/refresh", SECRET, "/auth/logout"]
        assert not any("cookie" in sent.headers for sent in api.calls)


class TestAStream:
    @pytest.mark.parametrize("expired", [False, True], ids=["a good token", "an expired one"])
    def test_the_view_reads_the_body_as_it_comes(self, signed_in: Browser, api: DemoApi, expired: bool) -> None:
        size = 300_000
        if expired:
            api.expire_access_tokens()

        def view(request: ApiRequest) -> HttpResponse:
            answer = request.api.get("/protected-route/export.csv", params={"bytes": str(size)}, stream=True)
            with answer:
                return HttpResponse(str(sum(len(piece) for piece in answer.iter_content(4096))))

        response = signed_in.get("/visit/", **{"tests.view": view})

        assert int(response.content) >= size
        assert signed_in.session().generation == int(expired)

    def test_one_that_breaks_off_is_a_502(self, signed_in: Browser, api: DemoApi) -> None:
        headers = {"Content-Length": "900", "Connection": "close"}
        api.fail("GET", SECRET, Fault.answer(200, b'{"data": "hal', headers=headers))

        assert call(signed_in, "GET", stream=True).status_code == 502

        assert signed_in.is_signed_in()


class TestAMistakeOfTheView:
    """An argument that cannot be sent is the view's own mistake, and no answer of the API."""

    @pytest.mark.parametrize(
        "options",
        [{"json": object()}, {"json": float("nan")}, {"headers": {"X-Pier": "north\r\nX-Evil: 1"}}],
        ids=["what is no JSON", "not a number", "a header with a line break"],
    )
    def test_it_is_a_500_and_never_sent(self, signed_in: Browser, api: DemoApi, options: dict[str, Any]) -> None:
        assert call(signed_in, "POST", **options).status_code == 500

        assert not api.calls

    def test_nor_is_a_call_that_the_view_makes_to_somebody_else(self, signed_in: Browser) -> None:
        def view(request: ApiRequest) -> HttpResponse:
            raise requests.ConnectionError("the weather service is away")

        assert signed_in.get("/visit/", **{"tests.view": view}).status_code == 500


def pieces() -> Iterator[bytes]:
    yield b"high"
    raise RuntimeError("out of ink")


def test_a_body_that_fails_while_it_is_sent_harms_nobody_else(signed_in: Browser, api: DemoApi) -> None:
    """The connection holds half a request, so it must not go back to the pool."""
    assert call(signed_in, "POST", data=pieces()).status_code == 500

    grace = Browser()
    grace.sign_in(GRACE)
    assert call(grace, "GET").status_code == 200
    assert call(grace, "POST", json={"pier": "south"}).json() == {"data": {"pier": "south"}}
