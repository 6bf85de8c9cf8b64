"""EventSource stops for good at any status but 200: when the API fails, a stream tells it to reconnect later."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.http import HttpResponse, HttpResponseBase
from django.urls import path
from pytest_django import Settings

from accounts.api_client import ApiRequest
from accounts.browser import current_session
from accounts.models import EndReason, SessionRecord
from accounts.rotation.ending import end_session
from accounts.streaming import Event, api_events, stream_events
from config.urls import urlpatterns as site
from tests.browsers import Browser
from tests.demo_api.server import DemoApi, Fault
from tests.protected.proxy_calls import PROXY, ROUTE, body_of, call_proxy, only_call, wsgi_headers

EVENT_STREAM = "text/event-stream"
EVENTS = b'id: 1\nevent: error\ndata: {"their": "own"}\n\ndata: second\n\n'


def first_call_in_the_view(request: ApiRequest) -> HttpResponseBase:
    """A view that calls the API before the stream begins."""
    response = request.api.get(ROUTE)
    response.raise_for_status()
    return stream_events(request, [Event(data=response.json())])


def first_call_in_the_stream(request: ApiRequest) -> HttpResponseBase:
    """A view that calls the API while it streams."""

    def events() -> Iterator[Event]:
        while True:
            response = request.api.get(ROUTE)
            response.raise_for_status()
            yield Event(data=response.json())

    return stream_events(request, events())


def events_of_the_api(request: ApiRequest) -> HttpResponseBase:
    """A view that passes the API's events on."""
    return stream_events(request, api_events(request, ROUTE))


urlpatterns = [
    path("in-the-view/", first_call_in_the_view),
    path("in-the-stream/", first_call_in_the_stream),
    path("of-the-api/", events_of_the_api),
    *site,
]
pytestmark = pytest.mark.urls(__name__)

BEFORE_THE_STREAM = ["/in-the-view/", "/of-the-api/", PROXY]
TEMPORARY = [408, 425, 429, 500, 502, 503, 504]
FINAL = [401, 403, 404, 410, 422]


def connect(browser: Browser, address: str, last: str = "") -> HttpResponse:
    """The response to an EventSource, with its whole body."""
    headers = {"Accept": EVENT_STREAM, "Sec-Fetch-Mode": "cors", **({"Last-Event-ID": last} if last else {})}
    return call_proxy(browser, address, content_type="", **wsgi_headers(headers))


def listen(browser: Browser, address: str) -> Iterator[bytes]:
    """The body of the response to an EventSource, piece by piece."""
    response: Any = browser.client.get(address, headers={"Accept": EVENT_STREAM, "Sec-Fetch-Mode": "cors"})
    assert response.status_code == 200
    return iter(response)


def reconnects_after(response: HttpResponse) -> float:
    """The seconds after which an EventSource reconnects."""
    assert response.status_code == 200
    assert response["Content-Type"].startswith(EVENT_STREAM)
    return int(re.findall(rb"^retry: (\d+)$", response.content, re.MULTILINE)[-1]) / 1000


def fail_every_statement(*_: object) -> None:
    raise OperationalError("the database does not answer")


class TestATemporaryFailure:
    @pytest.mark.parametrize("status", TEMPORARY)
    @pytest.mark.parametrize("address", BEFORE_THE_STREAM)
    def test_a_status_of_the_api(self, signed_in: Browser, api: DemoApi, address: str, status: int) -> None:
        api.fail("GET", ROUTE, Fault.answer(status, b"<h1>Later</h1>", "text/html"))

        response = connect(signed_in, address)

        assert 5 <= reconnects_after(response) <= 10
        assert b"Later" not in response.content
        assert "no-store" in response["Cache-Control"]
        assert connect(signed_in, PROXY).status_code == 200, "the session stays"

    @pytest.mark.parametrize(
        ("retry_after", "least", "most"), [("7", 7, 14), ("0", 1, 2), ("3600", 30, 60), ("soon", 5, 10)]
    )
    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize("address", BEFORE_THE_STREAM)
    def test_the_apis_own_time(
        self, signed_in: Browser, api: DemoApi, address: str, status: int, retry_after: str, least: int, most: int
    ) -> None:
        api.fail("GET", ROUTE, Fault.answer(status, headers={"Retry-After": retry_after}))

        assert least <= reconnects_after(connect(signed_in, address)) <= most

    @pytest.mark.parametrize("address", BEFORE_THE_STREAM)
    def test_no_connection(self, signed_in: Browser, api: DemoApi, address: str) -> None:
        api.stop_serving()

        assert 5 <= reconnects_after(connect(signed_in, address)) <= 10

    @pytest.mark.parametrize("address", [*BEFORE_THE_STREAM, "/protected/events/"])
    def test_no_refresh(self, signed_in: Browser, api: DemoApi, address: str) -> None:
        api.expire_access_tokens()
        signed_in.age(3600)
        api.fail("POST", "/auth/refresh", Fault.answer(503, b""), times=None)

        for _ in range(2):
            # The second one meets the pause after the first one.
            assert reconnects_after(connect(signed_in, address)) >= 1

    def test_no_database(self, signed_in: Browser, api: DemoApi) -> None:
        signed_in.age(3600)
        with connection.execute_wrapper(fail_every_statement):
            assert reconnects_after(connect(signed_in, "/protected/events/")) >= 1

    @pytest.mark.parametrize("address", BEFORE_THE_STREAM)
    def test_a_response_that_cannot_be_used(self, signed_in: Browser, api: DemoApi, address: str) -> None:
        api.fail("GET", ROUTE, Fault.answer(302, headers={"Location": "https://evil.example/"}))

        assert 5 <= reconnects_after(connect(signed_in, address)) <= 10

    @pytest.mark.parametrize("status", TEMPORARY)
    def test_during_the_stream(self, signed_in: Browser, api: DemoApi, status: int) -> None:
        api.fail("GET", ROUTE, Fault.delay(0))
        api.fail("GET", ROUTE, Fault.answer(status, headers={"Retry-After": "7"}))

        response = connect(signed_in, "/in-the-stream/")

        assert 7 <= reconnects_after(response) <= 14
        assert b"North Pier" in response.content
        assert b'event: failure\ndata: {"detail": "The service behind this site is not answering."}' in response.content
        assert b"event: error" not in response.content

    def test_browsers_do_not_all_come_at_once(self, signed_in: Browser, api: DemoApi) -> None:
        api.stop_serving()

        assert len({reconnects_after(connect(signed_in, PROXY)) for _ in range(5)}) > 1


class TestAFinalFailure:
    @pytest.mark.parametrize("status", FINAL)
    def test_a_refusal_of_the_api_passes_through_the_proxy(self, signed_in: Browser, api: DemoApi, status: int) -> None:
        api.fail("GET", ROUTE, Fault.answer(status, b'{"message": "no"}'), times=None)

        response = connect(signed_in, PROXY)

        assert (response.status_code, response.content) == (status, b'{"message": "no"}')

    @pytest.mark.parametrize("status", FINAL)
    @pytest.mark.parametrize("address", ["/in-the-view/", "/of-the-api/"])
    def test_a_refusal_of_the_api_before_the_stream(
        self, signed_in: Browser, api: DemoApi, address: str, status: int
    ) -> None:
        api.fail("GET", ROUTE, Fault.answer(status, b'{"message": "no"}'), times=None)

        assert connect(signed_in, address).status_code == 502

    @pytest.mark.parametrize("status", FINAL)
    def test_a_refusal_during_the_stream_stops_the_browser_with_a_204(
        self, signed_in: Browser, api: DemoApi, status: int
    ) -> None:
        api.fail("GET", ROUTE, Fault.answer(status, b'{"message": "no"}'), times=None)
        response = connect(signed_in, "/in-the-stream/")
        assert b"event: failure\n" in response.content
        [last] = re.findall(r"^id: (.*)$", response.text, re.MULTILINE)
        api.forget_calls()

        assert connect(signed_in, "/in-the-stream/", last).status_code == 204
        assert api.calls == []

    def test_the_end_of_the_session_during_the_stream(self, signed_in: Browser, api: DemoApi) -> None:
        record = SessionRecord.objects.get()
        api.expire_access_tokens()
        end_session(record.id, EndReason.REVOKED)
        response = connect(signed_in, "/in-the-stream/")
        [data] = re.findall(r"^event: failure\ndata: (.*)$", response.text, re.MULTILINE)
        assert json.loads(data)["login"].startswith("/accounts/login/?")
        [last] = re.findall(r"^id: (.*)$", response.text, re.MULTILINE)

        assert connect(signed_in, "/in-the-stream/", last).status_code == 204

    @pytest.mark.parametrize("address", ["/of-the-api/", PROXY])
    def test_a_sign_out_ends_the_streams_of_the_session(
        self, signed_in: Browser, api: DemoApi, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(current_session, "STREAM_CHECK_SECONDS", 0.0)
        api.fail("GET", ROUTE, Fault.answer(200, EVENTS * 100, EVENT_STREAM))
        other_tab = signed_in.copy()
        body = listen(signed_in, address)
        while b"second" not in next(body):
            pass

        with connection.execute_wrapper(fail_every_statement):
            while b"second" not in next(body):
                pass
        other_tab.sign_out()

        assert b"second" not in b"".join(body)
        [last] = [line[4:] for line in EVENTS.decode().split("\n") if line.startswith("id: ")]
        assert connect(other_tab, address, last).status_code == 401

    @pytest.mark.parametrize("address", [*BEFORE_THE_STREAM, "/protected/events/"])
    def test_a_browser_without_a_session(self, browser: Browser, address: str) -> None:
        response = connect(browser, address)

        assert response.status_code == 401
        assert body_of(response)["login"].startswith("/accounts/login/?")

    @pytest.mark.parametrize("address", ["/of-the-api/", PROXY])
    def test_a_204_of_the_api_stops_the_browser(self, signed_in: Browser, api: DemoApi, address: str) -> None:
        api.fail("GET", ROUTE, Fault.answer(204))
        response = connect(signed_in, address)
        if response.status_code == 200:
            [last] = re.findall(r"^id: (.*)$", response.text, re.MULTILINE)
            response = connect(signed_in, address, last)

        assert response.status_code == 204


class TestOtherClients:
    @pytest.mark.parametrize("accept", ["application/json", f"application/json, {EVENT_STREAM}", "text/html", "*/*"])
    @pytest.mark.parametrize("address", BEFORE_THE_STREAM)
    def test_they_get_the_status(self, signed_in: Browser, api: DemoApi, address: str, accept: str) -> None:
        api.fail("GET", ROUTE, Fault.answer(503, headers={"Retry-After": "7"}))

        response = call_proxy(signed_in, address, HTTP_ACCEPT=accept)

        assert (response.status_code, response["Retry-After"]) == (503, "7")

    def test_a_post_gets_the_status(self, signed_in: Browser, api: DemoApi, settings: Settings) -> None:
        api.fail("POST", ROUTE, Fault.answer(503))
        settings.API_PROXY_ALLOW = f"POST {ROUTE}"

        assert call_proxy(signed_in, PROXY, "POST", b"{}", HTTP_ACCEPT=EVENT_STREAM).status_code == 503


class TestTheApisEvents:
    @pytest.mark.parametrize("address", ["/of-the-api/", PROXY])
    def test_they_pass_unchanged(self, signed_in: Browser, api: DemoApi, address: str) -> None:
        api.fail("GET", ROUTE, Fault.answer(200, b"\xef\xbb\xbf" + EVENTS, f"{EVENT_STREAM}; charset=utf-8"))

        response = connect(signed_in, address)

        assert reconnects_after(response) >= 2
        assert response.content.partition(b"\n")[2] == EVENTS
        assert not response.has_header("Content-Length")

    @pytest.mark.parametrize("address", ["/of-the-api/", PROXY])
    def test_the_browsers_place_in_the_stream_reaches_the_api(
        self, signed_in: Browser, api: DemoApi, address: str
    ) -> None:
        connect(signed_in, address, "row 7")

        headers = only_call(api).headers
        assert headers["last-event-id"] == "row 7"
        assert headers["accept"] == EVENT_STREAM
        assert headers["accept-encoding"] == "identity"

    def test_one_that_is_compressed_passes_as_it_is(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", ROUTE, Fault.answer(200, b"compressed", EVENT_STREAM, {"Content-Encoding": "br"}))

        response = connect(signed_in, PROXY)

        assert (response.content, response["Content-Encoding"]) == (b"compressed", "br")
