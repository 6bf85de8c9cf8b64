"""The grace period counts from the arrival of a request, which may have waited in the proxy or in the queue."""

import time

import pytest
from django.test import RequestFactory
from pytest_django import Settings

from accounts.browser.queue_time import MAX_SECONDS, queue_seconds
from accounts.models import EndReason, SessionRecord
from tests.accounts.rotation.clocks import movable_clock
from tests.browsers import Browser, cookies_set
from tests.demo_api.server import DemoApi


@pytest.fixture(autouse=True)
def proxy(settings: Settings) -> None:
    settings.TRUSTED_PROXY_COUNT = 1


def retire_generation_0(browser: Browser, api: DemoApi) -> None:
    """The browser rotates, and presents the new cookie."""
    api.expire_access_tokens()
    assert browser.is_signed_in()
    assert browser.is_signed_in()


def open_page(browser: Browser, waited: str) -> int:
    return browser.get("/protected/", HTTP_X_REQUEST_WAITED=waited).status_code


def test_an_upload_that_nginx_read_for_longer_than_the_leeway_is_no_reuse(signed_in: Browser, api: DemoApi) -> None:
    late_request = signed_in.copy()
    with movable_clock() as clock:
        retire_generation_0(signed_in, api)
        clock.ahead += 40

        assert open_page(late_request, f"41.5 {clock.time():.3f}") == 200

    assert signed_in.is_signed_in()


def test_a_request_that_waited_for_a_free_thread_is_no_reuse(signed_in: Browser, api: DemoApi) -> None:
    late_request = signed_in.copy()
    with movable_clock() as clock:
        passed_on = clock.time()
        retire_generation_0(signed_in, api)
        clock.ahead += 40

        assert open_page(late_request, f"0.000 {passed_on:.3f}") == 200

    assert signed_in.is_signed_in()


@pytest.mark.parametrize("seconds", [100, 200, 3500])
@pytest.mark.parametrize("check", ["on-rotation", "every-request"])
@pytest.mark.parametrize("path", ["/protected/", "/protected/api/protected-route"])
def test_an_upload_of_minutes_may_fail_but_ends_no_session(
    signed_in: Browser,
    api: DemoApi,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    check: str,
    path: str,
    seconds: float,
) -> None:
    settings.API_SESSION_CHECK = check
    settings.API_PROXY_ALLOW = "GET /protected-route"
    late_request = signed_in.copy()
    with movable_clock() as clock:
        retire_generation_0(signed_in, api)
        clock.ahead += seconds

        answer = late_request.get(path, HTTP_X_REQUEST_WAITED=f"{seconds + 5} {clock.time():.3f}")

        assert answer.status_code == (401 if "api" in path else 503)
        assert "api" not in path or answer.json()["detail"].endswith("Send the same request again.")
        assert answer["Retry-After"] == "1"
        assert not cookies_set(answer)
        assert "used again" not in caplog.text
        assert signed_in.is_signed_in()
        assert SessionRecord.objects.get().ended_at is None
        signed_in.sign_out()
        assert SessionRecord.objects.get().end_reason == EndReason.SIGNED_OUT


def test_a_slow_request_of_an_unconfirmed_cookie_may_fail_but_ends_no_session(signed_in: Browser, api: DemoApi) -> None:
    api.expire_access_tokens()
    signed_in.open_page()
    late_request = signed_in.copy()
    with movable_clock() as clock:
        assert signed_in.is_signed_in()
        retire_generation_0(signed_in, api)
        clock.ahead += 200

        answer = late_request.get("/accounts/session/", HTTP_X_REQUEST_WAITED=f"205 {clock.time():.3f}")

        assert answer.status_code == 503
        assert not cookies_set(answer)
        assert signed_in.is_signed_in()


def test_a_thief_who_forges_the_header_gets_nothing_and_is_found_out_after_an_hour(
    signed_in: Browser, api: DemoApi
) -> None:
    thief = signed_in.copy()
    with movable_clock() as clock:
        retire_generation_0(signed_in, api)
        for _ in range(3):
            clock.ahead += 1000
            assert open_page(thief, f"3599 {clock.time():.3f}") == 503
        clock.ahead += 1000

        assert open_page(thief, f"3599 {clock.time():.3f}") == 302

    assert SessionRecord.objects.get().end_reason == EndReason.REUSED


@pytest.mark.parametrize("waited", ["0.000 {now}", "1e9 0", ""], ids=["no wait", "forged", "empty"])
def test_a_copied_cookie_is_still_detected(signed_in: Browser, api: DemoApi, waited: str) -> None:
    thief = signed_in.copy()
    with movable_clock() as clock:
        retire_generation_0(signed_in, api)
        clock.ahead += 30 + MAX_SECONDS + 1

        assert open_page(thief, waited.format(now=clock.time())) == 302

    assert SessionRecord.objects.get().end_reason == EndReason.REUSED


def test_the_header_is_ignored_without_a_trusted_proxy(signed_in: Browser, api: DemoApi, settings: Settings) -> None:
    settings.TRUSTED_PROXY_COUNT = 0
    thief = signed_in.copy()
    with movable_clock() as clock:
        retire_generation_0(signed_in, api)
        clock.ahead += 40

        assert open_page(thief, f"41.5 {clock.time():.3f}") == 302


@pytest.mark.parametrize(
    ("waited", "seconds"),
    [
        ("2.5 {now}", 2.5),
        ("2.5 {later}", 2.5),
        ("-7 {now}", 0.0),
        ("1e400 {now}", 0.0),
        ("nan {now}", 0.0),
        ("2.5", 0.0),
        ("2.5 {now} 1", 0.0),
        ("two {now}", 0.0),
        ("\u0662.5 {now}", 2.5),
    ],
)
def test_values_of_the_header(waited: str, seconds: float) -> None:
    now = time.time()
    request = RequestFactory().get("/", HTTP_X_REQUEST_WAITED=waited.format(now=now, later=now + 600))

    assert queue_seconds(request) == pytest.approx(seconds, abs=0.5)
