"""The doctor's endpoint on the site: 404 without a ticket."""

import json
import time
from collections.abc import Callable

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings

from accounts.browser.cookies import MAX_SESSION_BYTES
from accounts.doctor.endpoint import PIECES, TICKET_SECONDS, Order, Ticket, trial_cookies
from accounts.session.sealing import Purpose, seal
from tests.browsers import Answer, Browser

PLACE = "/accounts/doctor/"


def ticket(sealed_at: float | None = None, order: str = Order.LOOK, size: object = 0) -> str:
    """A ticket, also one that the command would not make."""
    return seal(Purpose.DOCTOR, json.dumps([time.time() if sealed_at is None else sealed_at, order, size]).encode())


def bring(text: str, browser: Browser | None = None, headers: dict[str, str] | None = None) -> Answer:
    browser = browser or Browser(csrf_checks=True)
    return browser.post(PLACE, headers={"Doctor-Ticket": text, **(headers or {})})


@pytest.mark.parametrize(
    "make",
    [
        lambda: "",
        lambda: "nonsense",
        lambda: "\u00fc",
        lambda: ticket(time.time() - TICKET_SECONDS - 5),
        lambda: ticket(time.time() + TICKET_SECONDS + 5),
        lambda: ticket(order="give me a session"),
        lambda: ticket(size=-1),
        lambda: ticket(size=MAX_SESSION_BYTES + 1),
        lambda: ticket(size="many"),
        lambda: ticket(size=None),
        lambda: seal(Purpose.DOCTOR, b"{}"),
        lambda: seal(Purpose.DOCTOR, b"\xff"),
        lambda: seal(Purpose.SESSION_UPDATE, json.dumps([time.time(), Order.LOOK, 0]).encode()),
        lambda: seal(Purpose.COOKIE, json.dumps([time.time(), Order.LOOK, 0]).encode()),
        lambda: Ticket(Order.LOOK).seal()[:-1],
    ],
    ids=[
        "none",
        "nonsense",
        "no ASCII",
        "too old",
        "of the future",
        "of no known order",
        "of a negative size",
        "too large",
        "of no size",
        "of no number",
        "another shape",
        "no JSON",
        "a session update",
        "a cookie",
        "cut",
    ],
)
def test_whatever_is_no_ticket_finds_nothing_here(make: Callable[[], str]) -> None:
    response = bring(make())

    assert response.status_code == 404
    assert not response.cookies


def test_neither_does_a_ticket_that_other_keys_sealed(settings: Settings) -> None:
    settings.API_SESSION_KEYS = ["another-key-" + "x" * 40]
    foreign = Ticket(Order.LOOK).seal()
    settings.API_SESSION_KEYS = []

    assert bring(foreign).status_code == 404


def test_nor_one_that_is_not_posted() -> None:
    assert Browser().get(PLACE, headers={"Doctor-Ticket": Ticket(Order.LOOK).seal()}).status_code == 404


def test_a_former_key_will_do(settings: Settings) -> None:
    text = Ticket(Order.LOOK).seal()
    settings.API_SESSION_KEYS = ["a-new-key-" + "x" * 40, django_settings.SECRET_KEY]

    assert bring(text).status_code == 200


def test_it_says_what_the_site_sees_of_the_request_and_nothing_secret(settings: Settings) -> None:
    settings.TRUSTED_PROXY_COUNT = 1
    headers = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7", "X-Forwarded-Proto": "https"}

    response = bring(Ticket(Order.LOOK).seal(), headers=headers)

    seen = response.json()
    assert (seen["host"], seen["address"], seen["forwarded_for"]) == ("testserver", "198.51.100.7", 2)
    assert (seen["secure"], seen["forwarded_proto"], seen["trusted_proxies"]) == (False, "https", 1)
    assert settings.SECRET_KEY not in response.text
    assert "no-store" in response["Cache-Control"]
    assert not response.cookies


@pytest.mark.django_db(transaction=True)
def test_it_touches_no_session(signed_in: Browser) -> None:
    before = signed_in.take()

    bring(Ticket(Order.SET_COOKIES, MAX_SESSION_BYTES).seal(), signed_in)
    with_trial_cookies = signed_in.take()
    assert signed_in.is_signed_in()
    bring(Ticket(Order.DELETE_COOKIES, MAX_SESSION_BYTES).seal(), signed_in)

    assert len(with_trial_cookies) == len(before) + len(trial_cookies(MAX_SESSION_BYTES, "session"))
    assert with_trial_cookies["session"] == signed_in.take()["session"] == before["session"]


def test_what_it_sets_it_finds_again_and_deletes() -> None:
    browser = Browser()
    size = MAX_SESSION_BYTES

    set_by = bring(Ticket(Order.SET_COOKIES, size).seal(), browser)
    found = bring(Ticket(Order.LOOK, size).seal(), browser)
    bring(Ticket(Order.DELETE_COOKIES, size).seal(), browser)

    names = [*trial_cookies(size, "session")]
    assert [*set_by.cookies] == names
    assert all(morsel["httponly"] and morsel["samesite"] == "Lax" for morsel in set_by.cookies.values())
    assert found.json()["cookies_arrived"] == names
    assert browser.take() == {}


def test_a_cookie_that_was_cut_has_not_arrived() -> None:
    first, second = trial_cookies(5000, "session").items()
    browser = Browser(dict([first, (second[0], second[1][:-1])]))

    assert bring(Ticket(Order.LOOK, 5000).seal(), browser).json()["cookies_arrived"] == [first[0]]


@pytest.mark.parametrize(
    ("order", "content_type"), [(Order.STREAM_PAGE, "text/html"), (Order.STREAM_EVENTS, "text/event-stream")]
)
def test_it_streams_as_the_site_does(order: Order, content_type: str) -> None:
    response = bring(Ticket(order).seal())

    assert response["Content-Type"].startswith(content_type)
    assert response["X-Accel-Buffering"] == "no"
    assert response.getvalue().count(b"piece") == PIECES
