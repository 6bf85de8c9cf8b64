"""The request trace: the requests of the user's own session, live, by any process; a 404 where it is off."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.http import StreamingHttpResponse
from pytest_django import Settings

from accounts.history.traced_requests import TracedRequestWriter
from accounts.models import EndReason, TracedRequest
from accounts.rotation.ending import end_session
from protected import trace
from tests.accounts.history.test_events import post_session_update
from tests.accounts.telemetry.traces import known, stream, trace_writer
from tests.browsers import GRACE, PATIENCE_SECONDS, Browser, cookies_set
from tests.demo_api.server import DemoApi

__all__ = ["known", "trace_writer"]

PAGE = "/protected/trace/"
EVENTS = "/protected/trace/events/"


def traced(browser: Browser, trace_writer: TracedRequestWriter, page: str = PAGE) -> list[str]:
    """What the page shows, a line for each request."""
    assert trace_writer.finish(PATIENCE_SECONDS)
    answer = browser.get(page)
    assert answer.status_code == 200
    return [
        " ".join(re.sub("<[^>]+>", "", it).split()) for it in re.findall(r"<summary>(.*?)</summary>", answer.text, re.S)
    ]


def listen(browser: Browser, address: str = EVENTS, **options: Any) -> Iterator[str]:
    """The event stream, piece by piece."""
    response = browser.get(address, **options)
    assert isinstance(response, StreamingHttpResponse)
    assert (response.status_code, response["Content-Type"]) == (200, "text/event-stream")
    return _pieces(response)


def _pieces(response: StreamingHttpResponse) -> Iterator[str]:
    """The body. Closes it where the test stops reading: the garbage collector would do so during another request."""
    try:
        for piece in response:
            yield piece.decode()
    finally:
        response.close()


def next_request(events: Iterator[str]) -> dict[str, str]:
    """The data of the next event for a request."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    for piece in events:
        if piece.startswith("event: request\n"):
            data: dict[str, str] = json.loads(piece.partition("data: ")[2])
            return data
        assert time.monotonic() < give_up_at, "no event for a request"
    raise AssertionError("the stream has ended")


class TestThePage:
    def test_it_shows_the_latest_requests_the_newest_first(
        self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi
    ) -> None:
        known.open_page()
        api.expire_access_tokens()
        known.open_page()

        newest, oldest = traced(known, trace_writer)
        assert newest.startswith("GET /protected/ 200 rotated to generation 1 ")
        assert re.match(r"GET /protected/ 200 \d.* ms, at \d\d:\d\d:\d\d UTC", oldest)

    def test_it_begins_with_the_sign_in(self, trace_writer: TracedRequestWriter, browser: Browser) -> None:
        browser.sign_in()

        [only] = traced(browser, trace_writer)
        assert only.startswith("POST /accounts/login/ 302 session started")

    def test_a_stream_is_there_once(self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        post_session_update(known, stream(known))

        posted, streamed = traced(known, trace_writer)
        assert posted.startswith("POST /accounts/session/update/ 204 session update to generation 1")
        assert streamed.startswith("GET /protected/stream/ 200 rotated to generation 1")

    def test_it_does_not_trace_itself_and_calls_no_api(
        self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi
    ) -> None:
        for _ in range(2):
            assert traced(known, trace_writer) == []
        next(listen(known))

        assert traced(known, trace_writer) == []
        assert api.calls == []

    def test_no_user_sees_the_requests_of_another_session(
        self, trace_writer: TracedRequestWriter, known: Browser
    ) -> None:
        known.open_page()
        for user in (GRACE, "ada@example.com"):
            other = Browser()
            other.sign_in(user)

            assert len(traced(other, trace_writer)) == 1, "the sign-in"
            after_all = next(listen(other)) + next_request_or_nothing(other)
            assert "/protected/" not in after_all.replace("/protected/trace/", "")

    @pytest.mark.parametrize("address", [PAGE, EVENTS])
    def test_a_copy_of_a_session_that_is_over_shows_nothing(self, known: Browser, address: str) -> None:
        copy = known.copy()
        known.sign_out()

        assert copy.get(address).status_code == 302, "though its access token is still good"

    def test_it_is_stored_by_no_cache(self, known: Browser) -> None:
        assert known.get(PAGE)["Cache-Control"] == "private, no-store"

    def test_a_visitor_is_sent_to_the_sign_in_page(self, trace_writer: TracedRequestWriter, browser: Browser) -> None:
        answer = browser.get(PAGE)

        assert (answer.status_code, answer["Location"]) == (302, "/accounts/login/?next=%2Fprotected%2Ftrace%2F")
        assert browser.get(EVENTS, headers={"Accept": "application/json"}).status_code == 401

    @pytest.mark.parametrize("address", [PAGE, EVENTS])
    def test_without_api_trace_it_is_a_404(self, signed_in: Browser, settings: Settings, address: str) -> None:
        assert settings.API_TRACE is False, "the default"

        assert signed_in.get(address).status_code == 404
        assert Browser().get(address).status_code == 404

    def test_the_protected_page_leads_to_it_where_it_is(
        self, trace_writer: TracedRequestWriter, known: Browser, settings: Settings
    ) -> None:
        assert f'href="{PAGE}"' in known.open_page().text
        settings.API_TRACE = False
        assert PAGE not in known.open_page().text

    def test_a_rotation_elsewhere_is_confirmed_by_it_as_by_any_page(
        self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi
    ) -> None:
        api.expire_access_tokens()
        known.open_page()

        assert cookies_set(known.get(PAGE))
        assert known.session().confirmed


class TestTheEvents:
    def test_what_is_new_arrives_as_it_is_on_the_page(self, trace_writer: TracedRequestWriter, known: Browser) -> None:
        known.open_page()
        [before] = traced(known, trace_writer)
        last = re.findall(r"\?after=(\d+)", known.get(PAGE).text)[0]
        events = listen(known, f"{EVENTS}?after={last}")
        next(events)
        known.copy().get("/accounts/session/")

        told = next_request(events)

        assert told["summary"] == "GET /accounts/session/: 200"
        [item] = re.findall(r'<li class="traced-request" id="request-[0-9a-f]{32}">', told["html"])
        assert item in known.get(PAGE).text
        assert "/accounts/session/" not in before

    def test_a_stream_is_told_of_when_it_begins_and_when_it_ends(
        self, trace_writer: TracedRequestWriter, known: Browser
    ) -> None:
        events = listen(known)
        next(events)
        pieces = iter(known.copy().get("/protected/stream/?rows=2&delay=0"))
        next(pieces)
        begun = next_request(events)
        b"".join(pieces)
        ended = next_request(events)

        assert "end of the body" not in begun["html"]
        assert "end of the body" in ended["html"]
        assert begun["html"].split(">")[0] == ended["html"].split(">")[0], "the same item of the list"

    @pytest.mark.parametrize("how", ["Last-Event-ID", "after", "nonsense"])
    def test_a_browser_that_comes_back_resumes_where_it_was(
        self, trace_writer: TracedRequestWriter, known: Browser, how: str
    ) -> None:
        known.open_page()
        known.get("/accounts/session/")
        assert trace_writer.finish(PATIENCE_SECONDS)
        first = TracedRequest.objects.order_by("pk").first()
        assert first is not None
        if how == "Last-Event-ID":
            events = listen(known, f"{EVENTS}?after=0", headers={"Last-Event-ID": str(first.pk)})
        else:
            events = listen(known, f"{EVENTS}?after={first.pk if how == 'after' else how}")

        summary = next_request(events)["summary"]

        assert summary == ("GET /protected/: 200" if how == "nonsense" else "GET /accounts/session/: 200")

    def test_it_lets_go_of_the_servers_thread_now_and_then(
        self, trace_writer: TracedRequestWriter, known: Browser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trace, "MAX_SECONDS", 0.0)

        assert re.fullmatch(r"retry: \d{4}\n", "".join(listen(known)))

    def test_it_ends_with_the_session(
        self, trace_writer: TracedRequestWriter, known: Browser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trace, "HEARTBEAT_SECONDS", 0.0)
        events = listen(known)
        next(events)
        end_session(known.session().id, EndReason.REVOKED)

        rest = "".join(events)

        assert '"detail": "Your session has ended."' in rest
        assert "/accounts/login/?next=" in rest

    def test_it_is_alive_while_nothing_happens(
        self, trace_writer: TracedRequestWriter, known: Browser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trace, "HEARTBEAT_SECONDS", 0.0)

        events = listen(known)

        assert re.fullmatch(r"retry: \d{4}\n: heartbeat\n\n", "".join(next(events) for _ in range(3)))


def next_request_or_nothing(browser: Browser) -> str:
    """The past requests in a stream that ends at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "MAX_SECONDS", 0.5)
        return "".join(listen(browser))


def test_staff_see_the_traces_of_the_session_and_of_no_other(
    trace_writer: TracedRequestWriter, known: Browser, api: DemoApi
) -> None:
    api.expire_access_tokens()
    known.open_page()
    other = Browser()
    other.sign_in(GRACE)
    staff = Browser()
    staff.client.force_login(get_user_model().objects.create_superuser("harbour-master"))

    [mine] = traced(staff, trace_writer, f"/admin/accounts/sessionrecord/{known.session().id}/change/")
    [theirs] = traced(staff, trace_writer, f"/admin/accounts/sessionrecord/{other.session().id}/change/")

    assert mine.startswith("GET /protected/ 200 rotated to generation 1")
    assert theirs.startswith("POST /accounts/login/ 302 session started")


def test_no_page_and_no_event_holds_a_token_or_a_part_of_one(
    trace_writer: TracedRequestWriter, known: Browser, api: DemoApi
) -> None:
    session, cookie = known.session(), known.take()["session"]
    known.get(f"/protected/?token={session.tokens.access}")
    known.get(f"/protected/api/protected-route/{session.tokens.refresh}").close()
    api.expire_access_tokens()
    post_session_update(known, stream(known))
    tokens = (session.tokens, known.session().tokens)
    secrets = [
        cookie,
        known.take()["session"],
        session.secret.hex(),
        *(t.access for t in tokens),
        *(t.refresh for t in tokens),
    ]
    assert trace_writer.finish(PATIENCE_SECONDS)
    staff = Browser()
    staff.client.force_login(get_user_model().objects.create_superuser("harbour-master"))

    shown = known.get(PAGE).text + next_request_or_nothing(known)
    shown += staff.get(f"/admin/accounts/sessionrecord/{session.id}/change/").text

    assert shown.count("/auth/refresh<") > 2
    pieces = {text[start : start + 12] for text in secrets for start in range(len(text) - 11)}
    assert not [piece for piece in pieces if piece in shown]
