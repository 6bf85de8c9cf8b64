"""The notice that a session is about to end: on which pages, when, and what it costs."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from django.db import connection
from django.template.loader import render_to_string
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from tests.accounts.rotation.clocks import Clock, movable_clock
from tests.browsers import Browser

NOTICE = 'class="session-end"'


@pytest.fixture
def clock() -> Iterator[Clock]:
    with movable_clock() as clock:
        yield clock


def notice_on(browser: Browser, page: str = "/protected/") -> str:
    """The text of the notice as a browser without scripts shows it."""
    found = re.search(r'role="status" data-seconds="\d+"[^>]*>\s*<div>(.*?)</div>', browser.get(page).text, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", found[1]).split()) if found else ""


def seconds_in_json(browser: Browser) -> int | None:
    seconds: int | None = browser.get("/accounts/session/").json()["session_expires_in"]
    return seconds


class TestTheNotice:
    def test_it_is_shown_five_minutes_before_the_maximum_age(
        self, clock: Clock, signed_in: Browser, settings: Settings
    ) -> None:
        settings.API_SESSION_MAX_AGE = 340
        page = signed_in.open_page().text
        assert "<div hidden>" in page
        assert 300 <= int(re.findall(r'data-seconds="(\d+)"', page)[0]) <= 340
        assert 300 <= (seconds_in_json(signed_in) or 0) <= 340
        assert notice_on(signed_in) == ""

        clock.ahead = 45
        with CaptureQueriesContext(connection) as queries:
            page = signed_in.open_page().text
        assert len(queries) == 0
        assert "Your session ends in less than 5 minutes." in notice_on(signed_in)
        assert 'href="/accounts/login/?switch=1&amp;next=%2Fprotected%2F" target="_blank"' in page
        clock.ahead = 50
        assert notice_on(signed_in, "/").startswith("Your session ends in less than 5 minutes. Sign in again in a new")

    def test_it_is_for_a_refresh_token_that_is_not_renewed(self, clock: Clock, signed_in: Browser) -> None:
        session = signed_in.session()
        clock.ahead = 30
        ends_at = clock.time() + 50
        for is_final, words in ((False, ""), (True, "Your session ends in less than a minute.")):
            tokens = replace(session.tokens, refresh_expires_at=ends_at, refresh_is_final=is_final)
            signed_in.put({"session": replace(session, tokens=tokens).seal_for_cookie()})

            assert notice_on(signed_in).startswith(words)
            assert bool(notice_on(signed_in)) is is_final
            assert (seconds_in_json(signed_in) is None) is not is_final

    def test_without_a_known_end_there_is_none(self, signed_in: Browser) -> None:
        assert NOTICE not in signed_in.open_page().text
        assert seconds_in_json(signed_in) is None

    def test_pages_have_none_days_before_the_end(self, signed_in: Browser, settings: Settings) -> None:
        settings.API_SESSION_MAX_AGE = 3 * 24 * 3600
        assert NOTICE not in signed_in.open_page().text
        assert (seconds_in_json(signed_in) or 0) > 2 * 24 * 3600

    def test_the_sign_in_page_and_visitors_have_none(self, signed_in: Browser, settings: Settings) -> None:
        settings.API_SESSION_MAX_AGE = 100
        assert NOTICE in signed_in.get("/").text
        assert NOTICE not in signed_in.get("/accounts/login/?switch=1").text
        assert NOTICE not in Browser().get("/").text
        assert NOTICE not in render_to_string("base.html", {})
