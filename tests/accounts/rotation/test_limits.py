"""API_SESSION_MAX_AGE and API_SESSION_IDLE_TIMEOUT: when a session ends, what its user is told, and when it stays."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models import F
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts.browser.session import BrowserSession
from accounts.exceptions import SessionEnded
from accounts.models import EndReason, SessionRecord
from tests.accounts.rotation.clocks import Clock, movable_clock
from tests.accounts.rotation.helpers import rotate_and_confirm
from tests.browsers import Browser, cookies_set, records_away
from tests.demo_api.server import DemoApi, Fault, Gate

HOUR = 3600.0
EIGHT_HOURS = 8 * HOUR
TO_SIGN_IN = "/accounts/login/?next=%2Fprotected%2F&ended="


@pytest.fixture
def clock() -> Iterator[Clock]:
    with movable_clock() as clock:
        yield clock


@pytest.fixture
def max_age(settings: Settings) -> None:
    settings.API_SESSION_MAX_AGE = EIGHT_HOURS


@pytest.fixture
def idle_timeout(settings: Settings) -> None:
    settings.API_SESSION_IDLE_TIMEOUT = 1800


def end_reason() -> str:
    return SessionRecord.objects.get().end_reason


@pytest.mark.usefixtures("max_age")
class TestMaximumAge:
    def test_it_ends_the_session_here_and_at_the_api(
        self, clock: Clock, signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        script = signed_in.copy()
        clock.ahead = EIGHT_HOURS + 1

        response = signed_in.open_page()

        assert (response.status_code, response["Location"]) == (302, f"{TO_SIGN_IN}max-age")
        assert cookies_set(response)["session"]["max-age"] == 0
        assert end_reason() == EndReason.MAX_AGE
        assert "ended: it reached its maximum age" in caplog.text
        assert (api.count("POST", "/auth/logout", 204), api.count("POST", "/auth/refresh")) == (1, 0)
        assert "Your session ended after 8 hours. Please sign in again." in signed_in.get(response["Location"]).text
        refused = script.get("/protected/api/protected-route", HTTP_ACCEPT="application/json")
        assert refused.status_code == 401
        assert refused.json() == {
            "detail": "Your session ended after 8 hours.",
            "login": "/accounts/login/?next=%2F&ended=max-age",
        }
        assert api.count("POST", "/auth/logout") == 1

    @pytest.mark.parametrize("page", ["/accounts/session/", "/", "/accounts/login/?switch=1"])
    def test_pages_that_call_no_api_end_it_too(
        self, clock: Clock, signed_in: Browser, settings: Settings, page: str
    ) -> None:
        settings.API_SESSION_MAX_AGE = 20  # the access token is still valid
        clock.ahead = 21

        response = signed_in.get(page)

        assert cookies_set(response)["session"]["max-age"] == 0
        assert end_reason() == EndReason.MAX_AGE
        assert "Sign out" not in response.text

    def test_until_then_it_costs_no_query(self, clock: Clock, signed_in: Browser, settings: Settings) -> None:
        settings.API_SESSION_MAX_AGE = 30
        clock.ahead = 25

        with CaptureQueriesContext(connection) as queries:
            assert signed_in.is_signed_in()

        assert len(queries) == 0

    @pytest.mark.parametrize("fault", [Fault.answer(503), Fault.reset()], ids=["503", "reset"])
    def test_an_api_that_is_down_does_not_keep_it(
        self, clock: Clock, signed_in: Browser, api: DemoApi, fault: Fault
    ) -> None:
        api.fail("POST", "/auth/logout", fault, times=None)
        clock.ahead = EIGHT_HOURS + 1

        assert signed_in.open_page().status_code == 302

        assert end_reason() == EndReason.MAX_AGE
        assert "session" not in signed_in.take()

    def test_without_the_records_it_is_over_for_the_request_and_ends_later(
        self, clock: Clock, signed_in: Browser
    ) -> None:
        clock.ahead = EIGHT_HOURS + 1
        with records_away():
            response = signed_in.open_page()
        assert (response["Location"], cookies_set(response)) == (f"{TO_SIGN_IN}max-age", {})

        assert signed_in.open_page().status_code == 302

        assert end_reason() == EndReason.MAX_AGE

    def test_a_host_whose_clock_is_ahead_ends_no_session(self, clock: Clock, signed_in: Browser, api: DemoApi) -> None:
        clock.host_ahead = 3 * EIGHT_HOURS

        assert signed_in.is_signed_in()
        api.expire_access_tokens()
        assert signed_in.is_signed_in()

        assert end_reason() == ""

    def test_the_time_in_the_queue_does_not_count(self, clock: Clock, signed_in: Browser, settings: Settings) -> None:
        settings.TRUSTED_PROXY_COUNT = 1
        settings.API_SESSION_MAX_AGE = 40
        clock.ahead = 50

        waited = {"HTTP_X_REQUEST_WAITED": f"20 {clock.time():.3f}"}
        assert signed_in.get("/protected/", **waited).status_code == 200
        assert signed_in.get("/protected/").status_code == 302

    def test_a_new_limit_holds_for_older_sessions(self, clock: Clock, signed_in: Browser, settings: Settings) -> None:
        clock.ahead = 50
        assert signed_in.is_signed_in()
        settings.API_SESSION_MAX_AGE = 40

        assert not signed_in.is_signed_in()

        assert end_reason() == EndReason.MAX_AGE

    def test_a_sign_in_over_it_replaces_it(self, clock: Clock, signed_in: Browser) -> None:
        old = signed_in.session().id
        clock.ahead = EIGHT_HOURS + 1

        signed_in.sign_in()

        assert signed_in.is_signed_in()
        assert SessionRecord.objects.get(pk=old).end_reason == EndReason.REPLACED

    def test_the_newest_pair_is_revoked_and_a_session_update_refused(
        self, clock: Clock, signed_in: Browser, api: DemoApi
    ) -> None:
        older = signed_in.copy()
        rotate_and_confirm(signed_in, api)
        newest = signed_in.session().tokens.refresh
        clock.ahead = EIGHT_HOURS + 1
        update = signed_in.session().seal_for_update()

        refused = older.post("/accounts/session/update/", {"session": update}, content_type="application/json")

        assert (refused.status_code, cookies_set(refused)) == (400, {})
        assert end_reason() == EndReason.MAX_AGE
        is_newest = newest in next(call.body for call in api.calls if call.path == "/auth/logout").decode()
        assert is_newest

    @pytest.mark.parametrize("page", ["stream", "events"])
    def test_streams_end(self, clock: Clock, signed_in: Browser, page: str) -> None:
        parts = iter(signed_in.get(f"/protected/{page}/?rows=5&delay=0").streaming_content)  # type: ignore[attr-defined]
        received = [next(parts), next(parts)]
        clock.ahead = EIGHT_HOURS + 1

        text = b"".join([*received, *parts]).decode()

        assert "ended=max-age" in text
        assert end_reason() == EndReason.MAX_AGE

    def test_an_event_stream_of_the_api_ends_in_the_proxy(
        self, signed_in: Browser, api: DemoApi, settings: Settings
    ) -> None:
        wanted: dict[str, str] = {"HTTP_ACCEPT": "text/event-stream"}
        with Gate() as gate:
            api.fail("GET", "/protected-route", Fault.quiet_event_stream(gate))
            parts = iter(signed_in.client.get("/protected/api/protected-route", **wanted).streaming_content)  # type: ignore[arg-type, attr-defined]
            assert b"retry: " in next(parts)
            settings.API_SESSION_MAX_AGE = 0.001
            gate.release()
            assert list(parts) == []

        assert end_reason() == EndReason.MAX_AGE
        reconnected = signed_in.get("/protected/api/protected-route", **wanted)
        assert (reconnected.status_code, reconnected.json()["detail"]) == (401, "Your session ended after 1 second.")

    def test_an_async_view_that_runs_past_it_reads_its_session_without_a_query(
        self, signed_in: Browser, settings: Settings
    ) -> None:
        request = RequestFactory().get("/")
        request.COOKIES = signed_in.take()
        session = BrowserSession(request)
        session.load_before_async_view()
        settings.API_SESSION_MAX_AGE = 0.001

        async def read() -> bool:
            return session.current is not None

        assert asyncio.run(read())
        with pytest.raises(SessionEnded):
            session.require_verified()


@pytest.mark.usefixtures("idle_timeout")
class TestIdleTimeout:
    def test_a_session_ends_that_was_not_used_for_so_long(self, clock: Clock, signed_in: Browser, api: DemoApi) -> None:
        clock.ahead = 60 + 1800 + 1

        response = signed_in.open_page()

        assert (response.status_code, response["Location"]) == (302, f"{TO_SIGN_IN}idle")
        assert end_reason() == EndReason.IDLE
        assert (api.count("POST", "/auth/logout", 204), api.count("POST", "/auth/refresh")) == (1, 0)
        page = signed_in.get(response["Location"]).text
        assert "Your session ended because you did not use it for 30 minutes. Please sign in again." in page

    def test_one_that_is_used_stays(self, clock: Clock, signed_in: Browser, api: DemoApi) -> None:
        for _ in range(3):
            clock.ahead += 60 + 1800 - 10
            api.expire_access_tokens()
            assert signed_in.is_signed_in()

    def test_a_user_who_tries_again_while_the_api_is_unavailable_is_not_idle(
        self, clock: Clock, signed_in: Browser, api: DemoApi
    ) -> None:
        api.fail("POST", "/auth/refresh", Fault.answer(503), times=None)
        for _ in range(3):
            clock.ahead += 1700
            assert signed_in.open_page().status_code == 503
            call_command("prune_sessions", verbosity=0)
        api.heal()
        clock.ahead += 100  # longer than the pause after the failure

        assert signed_in.is_signed_in()
        assert end_reason() == ""

    def test_it_is_noted_a_few_times_and_not_with_each_request(
        self, clock: Clock, signed_in: Browser, api: DemoApi
    ) -> None:
        api.fail("POST", "/auth/refresh", Fault.answer(503), times=None)
        clock.ahead = 70
        written = ["session" in signed_in.open_page().cookies for _ in range(3)]

        assert written == [True, False, False]

    @pytest.mark.parametrize("is_confirmed", [False, True])
    def test_a_browser_that_missed_a_response_is_not_idle(
        self, clock: Clock, signed_in: Browser, api: DemoApi, is_confirmed: bool
    ) -> None:
        """Its cookie looks idle, but the record has a newer generation: of another tab, or of an open event stream."""
        late = signed_in.copy()
        clock.ahead = 1000
        api.expire_access_tokens()
        assert signed_in.is_signed_in()
        if is_confirmed:
            assert signed_in.is_signed_in()
        clock.ahead = 2000

        assert late.is_signed_in() is not is_confirmed

        # After its grace period, an older cookie is a copy.
        assert end_reason() == (EndReason.REUSED if is_confirmed else "")

    def test_one_that_another_request_is_rotating_is_in_use(self, clock: Clock, signed_in: Browser) -> None:
        """That request arrived before the limit, and the API responds to it after the limit."""
        clock.ahead = 60 + 1800 + 1
        lease_seconds = 60
        session_id = signed_in.session().id
        assert SessionRecord.objects.claim(session_id, generation=0, owner="in time", lease_seconds=lease_seconds)

        assert signed_in.get("/accounts/session/").json()["authenticated"] is True

        # Its worker has died.
        clock.ahead += lease_seconds
        assert signed_in.get("/accounts/session/").json()["authenticated"] is False
        assert end_reason() == EndReason.IDLE

    def test_both_are_idle_when_the_newest_is(self, clock: Clock, signed_in: Browser, api: DemoApi) -> None:
        late = signed_in.copy()
        clock.ahead = 1000
        api.expire_access_tokens()
        assert signed_in.is_signed_in()
        clock.ahead = 3000

        assert not late.is_signed_in()

        assert end_reason() == EndReason.IDLE
        assert signed_in.open_page()["Location"] == f"{TO_SIGN_IN}idle"

    def test_a_host_whose_clock_is_ahead_ends_no_session(self, clock: Clock, signed_in: Browser) -> None:
        clock.host_ahead = 24 * HOUR

        assert signed_in.is_signed_in()

    def test_a_stream_does_not_get_idle(self, clock: Clock, signed_in: Browser, api: DemoApi) -> None:
        parts = iter(signed_in.get("/protected/stream/?rows=3&delay=0").streaming_content)  # type: ignore[attr-defined]
        next(parts)
        clock.ahead = 3000
        api.expire_access_tokens()

        text = b"".join(parts).decode()

        assert "That was all." in text
        assert "<session-update" in text

    def test_a_session_whose_tokens_have_no_known_lifetime_is_never_idle(
        self, clock: Clock, signed_in: Browser
    ) -> None:
        session = signed_in.session()
        unknown = replace(session, tokens=replace(session.tokens, access_expires_at=None))
        signed_in.put({"session": unknown.seal_for_cookie()})
        clock.ahead = 24 * HOUR

        assert signed_in.get("/accounts/session/").json()["authenticated"] is True


class TestTheRecordsExpiry:
    def test_staff_see_the_end_that_comes_first(self, settings: Settings, browser: Browser) -> None:
        settings.API_SESSION_MAX_AGE, settings.API_SESSION_IDLE_TIMEOUT = 1500, 900
        browser.sign_in()
        session = browser.session()
        assert browser.record().expires_at == session.expiry()
        assert session.expiry().timestamp() == pytest.approx(session.tokens.access_expires_at + 900)  # type: ignore[union-attr, operator]

        settings.API_SESSION_IDLE_TIMEOUT = None
        assert session.expiry().timestamp() == pytest.approx(session.signed_in_at + 1500)  # type: ignore[union-attr]

        SessionRecord.objects.update(expires_at=F("expires_at") - timedelta(days=1))
        assert browser.record().state == "expired"
        assert not SessionRecord.objects.active().exists()
