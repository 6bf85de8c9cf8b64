"""A request is judged by when it arrived, and it may have waited in front of the site."""

import time

import pytest
from django.test import RequestFactory
from pytest_django import Settings

from accounts.browser.queue_time import MAX_SECONDS, queue_seconds
from accounts.models import EndReason, SessionRecord
from tests.accounts.rotation.clocks import movable_clock
from tests.browsers import Browser
from tests.demo_api.server import DemoApi


@pytest.fixture(autouse=True)
def proxy(settings: Settings) -> None:
    settings.TRUSTED_PROXY_COUNT = 1


def retire_generation_0(browser: Browser, api: DemoApi) -> None:
    """The browser rotates, and is seen with what it got."""
    api.expire_access_tokens()
    assert browser.is_signed_in()
    assert browser.is_signed_in()


def open_page(browser: Browser, said: str) -> int:
    return browser.get("/protected/", HTTP_X_REQUEST_WAITED=said).status_code


def test_an_upload_that_nginx_took_in_for_longer_than_the_leeway_is_a_straggler(
    signed_in: Browser, api: DemoApi
) -> None:
    straggler = signed_in.copy()
    with movable_clock() as clock:
        retire_generation_0(signed_in, api)
        clock.ahead += 40

        assert open_page(straggler, f"41.5 {clock.time():.3f}") == 200

    assert signed_in.is_signed_in()


def test_so_is_a_request_for_which_no_thread_was_free(signed_in: Browser, api: DemoApi) -> None:
    straggler = signed_in.copy()
    with movable_clock() as clock:
        passed_on = clock.time()
        retire_generation_0(signed_in, api)
        clock.ahead += 40

        assert open_page(straggler, f"0.000 {passed_on:.3f}") == 200

    assert signed_in.is_signed_in()


@pytest.mark.parametrize("said", ["0.000 {now}", "1e9 0", ""], ids=["it came just now", "forged", "nothing"])
def test_a_copied_cookie_is_found_out_all_the_same(signed_in: Browser, api: DemoApi, said: str) -> None:
    thief = signed_in.copy()
    with movable_clock() as clock:
        retire_generation_0(signed_in, api)
        clock.ahead += 30 + MAX_SECONDS + 1

        assert open_page(thief, said.format(now=clock.time())) == 302

    assert SessionRecord.objects.get().end_reason == EndReason.REUSED


def test_nothing_counts_where_no_proxy_is_trusted(signed_in: Browser, api: DemoApi, settings: Settings) -> None:
    settings.TRUSTED_PROXY_COUNT = 0
    thief = signed_in.copy()
    with movable_clock() as clock:
        retire_generation_0(signed_in, api)
        clock.ahead += 40

        assert open_page(thief, f"41.5 {clock.time():.3f}") == 302


@pytest.mark.parametrize(
    ("said", "seconds"),
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
def test_what_a_proxy_may_say(said: str, seconds: float) -> None:
    now = time.time()
    request = RequestFactory().get("/", HTTP_X_REQUEST_WAITED=said.format(now=now, later=now + 600))

    assert queue_seconds(request) == pytest.approx(seconds, abs=0.5)
