"""request.api while the API fails, or sends bodies that cannot be used."""

import gzip

import pytest
import requests
from django.http import HttpResponse
from pytest_django import Settings

from accounts.api_client import ApiRequest
from accounts.upstream.response import MAX_ANSWER_BYTES
from tests.accounts.api_calls import SECRET, call
from tests.browsers import Browser
from tests.demo_api.server import DemoApi, Fault, Gate

pytestmark = pytest.mark.urls("tests.accounts.api_calls")


@pytest.fixture
def signed_in(signed_in: Browser, api: DemoApi) -> Browser:
    """Ada's browser, without the calls of its sign-in."""
    api.forget_calls()
    return signed_in


class TestResponseBody:
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
        ids=["HTML", "nested too deep", "a number with too many digits", "idna", "undefined", "not a text encoding"],
    )
    def test_a_body_that_is_no_json_is_a_502(
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
    def test_text_in_an_unknown_charset_is_decoded(self, signed_in: Browser, api: DemoApi, charset: str) -> None:
        api.fail("GET", SECRET, Fault.answer(200, b"high tide\xff", f"text/plain; charset={charset}"))

        def view(request: ApiRequest) -> HttpResponse:
            return HttpResponse(request.api.get(SECRET).text)

        assert signed_in.get("/visit/", **{"tests.view": view}).text == "high tide\N{REPLACEMENT CHARACTER}"

    @pytest.mark.parametrize("gzipped", [False, True], ids=["plain", "gzip"])
    @pytest.mark.parametrize(("more", "status"), [(0, 200), (1, 502)], ids=["the largest", "larger"])
    def test_a_body_that_is_read_whole_has_a_limit(
        self,
        signed_in: Browser,
        api: DemoApi,
        caplog: pytest.LogCaptureFixture,
        gzipped: bool,
        more: int,
        status: int,
    ) -> None:
        body = bytes(MAX_ANSWER_BYTES + more)
        encoding = {"Content-Encoding": "gzip"} if gzipped else {}
        api.fail("GET", SECRET, Fault.answer(200, gzip.compress(body) if gzipped else body, headers=encoding))

        response = call(signed_in, "GET")

        assert response.status_code == status
        assert ("MAX_ANSWER_BYTES" in caplog.text) == (status == 502)
        assert signed_in.is_signed_in()

    def test_a_body_that_is_read_in_pieces_has_no_limit(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", SECRET, Fault.answer(200, bytes(MAX_ANSWER_BYTES * 2)))

        def view(request: ApiRequest) -> HttpResponse:
            pieces = request.api.get(SECRET, stream=True).iter_content(1024 * 1024)
            return HttpResponse(str(sum(map(len, pieces))))

        assert signed_in.get("/visit/", **{"tests.view": view}).text == str(MAX_ANSWER_BYTES * 2)


class TestFailingApi:
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
    def test_no_response_in_time_is_a_503(
        self, signed_in: Browser, api: DemoApi, settings: Settings, method: str
    ) -> None:
        settings.API_READ_TIMEOUT = 0.2
        with Gate() as gate:
            api.fail(method, SECRET, Fault.hold_before(gate))

            response = call(signed_in, method)

            assert (response.status_code, response["Retry-After"]) == (503, "5")
            assert gate.reached.wait(30)
            assert gate.arrivals == 1, "a request that takes too long is not made twice"

    def test_a_response_that_stalls_is_a_503(self, signed_in: Browser, api: DemoApi, settings: Settings) -> None:
        settings.API_READ_TIMEOUT = 0.2
        api.fail("GET", SECRET, Fault.answer(200, b'{"data": "hal', headers={"Content-Length": "900"}), times=2)

        assert call(signed_in, "GET").status_code == 503

        assert len(api.calls) == 1

    def test_a_response_that_breaks_off_is_a_503(self, signed_in: Browser, api: DemoApi, settings: Settings) -> None:
        headers = {"Content-Length": "900", "Connection": "close"}
        api.fail("GET", SECRET, Fault.answer(200, b'{"data": "hal', headers=headers), times=2)

        assert call(signed_in, "GET").status_code == 503
        assert call(signed_in, "GET").status_code == 200

    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
    def test_a_safe_request_is_repeated_after_a_broken_connection(
        self, signed_in: Browser, api: DemoApi, method: str
    ) -> None:
        api.fail(method, SECRET, Fault.reset())
        api.fail(method, SECRET, Fault.answer(200, {"data": "done"}))

        assert call(signed_in, method).status_code == 200

        assert [sent.fault for sent in api.calls] == ["reset", "answer"]

    def test_it_is_repeated_only_once(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", SECRET, Fault.reset(), times=None)

        assert call(signed_in, "GET").status_code == 503

        assert len(api.calls) == 2

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    @pytest.mark.parametrize("fault", [Fault.reset(), Fault.lose_answer()], ids=["not done", "done"])
    def test_a_request_is_not_repeated_if_the_api_may_have_acted(
        self, signed_in: Browser, api: DemoApi, method: str, fault: Fault
    ) -> None:
        api.fail(method, SECRET, fault)

        assert call(signed_in, method, json={"pieces": 3}).status_code == 503

        assert len(api.calls) == 1

    def test_a_restarted_api_is_called_over_new_connections(self, signed_in: Browser, api: DemoApi) -> None:
        assert call(signed_in, "GET").status_code == 200
        api.stop_serving()
        assert call(signed_in, "GET").status_code == 503
        api.start_serving()

        assert call(signed_in, "POST", json={}).status_code == 201
        assert call(signed_in, "GET").status_code == 200
