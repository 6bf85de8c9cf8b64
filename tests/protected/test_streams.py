"""Streamed responses, over the test client: their body, and the session updates in it."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import StreamingHttpResponse

from accounts.models import EndReason, SessionRecord
from accounts.rotation.ending import end_session
from tests.browsers import Browser, cookies_set
from tests.demo_api.server import DemoApi, Fault

SESSION_UPDATE = re.compile(r'<session-update session="([^"]+)"')


def pieces(browser: Browser, path: str, **options: Any) -> Iterator[str]:
    response = browser.get(path, **options)
    assert isinstance(response, StreamingHttpResponse)
    assert response.status_code == 200
    return (piece.decode() for piece in response)


def post_update(browser: Browser, text: object) -> Any:
    return browser.post("/accounts/session/update/", json.dumps({"session": text}), content_type="application/json")


def test_a_stream_that_rotates_carries_a_session_update_and_no_further_refresh_is_needed(
    signed_in: Browser, api: DemoApi
) -> None:
    stream = pieces(signed_in, "/protected/stream/?rows=3&delay=0")
    assert "<h1>Streamed page</h1>" in next(stream)
    assert "session-update " not in next(stream)
    api.expire_access_tokens()
    row = next(stream)

    [session_update] = SESSION_UPDATE.findall(row)
    assert not SESSION_UPDATE.findall("".join(stream)), "once"
    response = post_update(signed_in, session_update)

    assert (response.status_code, response.content) == (204, b"")
    assert response["Cache-Control"] == "private, no-store"
    assert signed_in.session().generation == 1
    api.forget_calls()
    assert signed_in.is_signed_in()
    assert api.count("POST", "/auth/refresh") == 0


def test_an_event_stream_sends_the_session_update_as_an_event(signed_in: Browser, api: DemoApi) -> None:
    stream = pieces(signed_in, "/protected/events/?rows=2&delay=0")
    api.expire_access_tokens()
    body = "".join(stream)

    [data] = re.findall(r"event: session-update\ndata: (.*)\n", body)
    assert post_update(signed_in, json.loads(data)["session"]).status_code == 204
    assert re.findall(r"^id: (.*)$", body, re.MULTILINE) == ["1", "2"]
    assert "event: end\n" in body


def test_an_event_stream_resumes_and_ends_with_204(signed_in: Browser) -> None:
    body = "".join(pieces(signed_in, "/protected/events/?rows=3&delay=0", HTTP_LAST_EVENT_ID="2"))
    assert re.findall(r"^id: (.*)$", body, re.MULTILINE) == ["3"]

    assert signed_in.get("/protected/events/?rows=3&delay=0", HTTP_LAST_EVENT_ID="3").status_code == 204


def test_the_events_are_a_page_for_a_browser_that_opens_them(signed_in: Browser) -> None:
    address = "/protected/events/?rows=2&delay=0"
    navigation = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}

    page = signed_in.get(address, headers=navigation)

    assert page["Content-Type"] == "text/html; charset=utf-8"
    assert "It gets 2 events" in " ".join(page.text.split())
    assert {"Accept", "Sec-Fetch-Mode"} <= {name.strip() for name in page["Vary"].split(",")}
    for headers in (
        {"Accept": "text/event-stream"},
        {"Accept": "*/*"},
        {"Accept": "text/html", "Sec-Fetch-Mode": "cors"},
    ):
        assert "event: end" in "".join(pieces(signed_in, address, headers=headers)), headers
    response = Browser().get(address, headers=navigation)
    assert response.status_code == 302
    assert "next=%2Fprotected%2Fevents%2F%3Frows%3D2" in response["Location"]
    assert signed_in.get("/protected/events/?rows=0", headers=navigation).status_code == 400


def test_an_update_that_was_never_posted_is_adopted_without_another_refresh(signed_in: Browser, api: DemoApi) -> None:
    api.expire_access_tokens()
    assert "".join(pieces(signed_in, "/protected/stream/?rows=1&delay=0"))

    assert signed_in.is_signed_in()

    assert api.count("POST", "/auth/refresh") == 1
    assert signed_in.session().generation == 1


@pytest.mark.parametrize(
    "query",
    ["rows=0", "rows=1001", "rows=x", "rows=1.5", "delay=-1", "delay=61", "delay=nan", "delay=inf", "rows="],
)
@pytest.mark.parametrize("page", ["stream", "events"])
def test_a_value_out_of_bounds_is_a_400(signed_in: Browser, page: str, query: str) -> None:
    response = signed_in.get(f"/protected/{page}/?{query}")

    assert response.status_code == 400
    assert f"{query.split('=')[0]} must be" in response.content.decode()


def test_an_api_failure_ends_the_page_with_an_explanation(signed_in: Browser, api: DemoApi) -> None:
    stream = pieces(signed_in, "/protected/stream/?rows=9&delay=0")
    assert next(stream)
    assert next(stream)
    api.fail("GET", "/protected-route", Fault.answer(500, b"no"), times=None)

    rest = "".join(stream)

    assert "did not send the rest of this page" in rest
    api.heal()
    assert signed_in.is_signed_in()


@pytest.mark.parametrize("page", ["stream", "events"])
def test_the_log_has_the_cause_but_quotes_neither_the_api_nor_the_query(
    signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture, page: str
) -> None:
    """Quoted text could forge a log line, and a query may hold private data."""
    api.fail("GET", "/protected-route", Fault.answer(400, b"no"), times=None)

    assert list(pieces(signed_in, f"/protected/{page}/?rows=9&delay=0"))

    assert f"GET '/protected/{page}/': the stream ended early: HTTPError: status 400" in caplog.messages


@pytest.mark.parametrize("page", ["stream", "events"])
def test_an_end_of_the_session_ends_its_streams(signed_in: Browser, page: str) -> None:
    stream = pieces(signed_in, f"/protected/{page}/?rows=9&delay=0")
    first = next(stream) + next(stream)
    end_session(SessionRecord.objects.get().id, EndReason.REVOKED)

    rest = "".join(stream)

    assert "Your session has ended" in rest
    assert "/accounts/login/?next=" in rest
    assert "id: 9" not in first + rest


def test_a_download_passes_through(signed_in: Browser, api: DemoApi) -> None:
    api.expire_access_tokens()
    response = signed_in.get("/protected/download/?bytes=300000")
    assert isinstance(response, StreamingHttpResponse)

    assert len(b"".join(response)) >= 300_000
    assert cookies_set(response)["session"].value, "the session rotated before the headers were sent"
    assert signed_in.session().generation == 1


@pytest.mark.parametrize("page", ["stream", "events", "download", "script"])
def test_without_a_session_a_stream_redirects_to_the_sign_in_page(browser: Browser, page: str) -> None:
    response = browser.get(f"/protected/{page}/")

    assert (response.status_code, response["Location"]) == (302, f"/accounts/login/?next=%2Fprotected%2F{page}%2F")


@pytest.mark.parametrize("page", ["stream", "events", "download"])
def test_a_head_request_starts_no_stream(signed_in: Browser, api: DemoApi, page: str) -> None:
    """Nothing is written to the socket, so the server would not notice that the browser disconnected."""
    api.forget_calls()

    assert signed_in.client.head(f"/protected/{page}/").status_code == 405

    assert api.calls == []


def test_a_stream_that_would_hold_a_thread_for_too_long_is_a_400(signed_in: Browser) -> None:
    response = signed_in.get("/protected/stream/?rows=1000&delay=60")

    assert response.status_code == 400
    assert "600 seconds" in response.content.decode()
