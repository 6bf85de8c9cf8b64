"""`LOGIN_REDIRECT_URL`: the page after a sign-in without `next`, and for a signed-in visitor of the sign-in page."""

import pytest
from django.urls import reverse_lazy
from pytest_django import Settings

from tests.accounts.at_provider import begin
from tests.accounts.odd_provider import OddProvider
from tests.browsers import Browser

VALUES = {
    "a path": ("/orders/?open=1", "/orders/?open=1"),
    "the name of a pattern": ("protected:stream", "/protected/stream/"),
    "lazy, as in a settings file": (reverse_lazy("home"), "/"),
}


def test_it_is_the_protected_page_by_default(settings: Settings) -> None:
    assert settings.LOGIN_REDIRECT_URL == "protected:dashboard"


@pytest.mark.parametrize(("value", "page"), VALUES.values(), ids=VALUES)
def test_a_sign_in_leads_there(browser: Browser, settings: Settings, value: object, page: str) -> None:
    settings.LOGIN_REDIRECT_URL = value

    assert browser.sign_in()["Location"] == page


def test_a_signed_in_visitor_of_the_sign_in_page_is_led_there(signed_in: Browser, settings: Settings) -> None:
    settings.LOGIN_REDIRECT_URL = "/orders/"

    assert signed_in.get("/accounts/login/")["Location"] == "/orders/"


@pytest.mark.parametrize(("next_url", "page"), [("/protected/", "/protected/"), ("https://evil.example/", "/orders/")])
def test_next_wins_if_it_leads_to_this_site(browser: Browser, settings: Settings, next_url: str, page: str) -> None:
    settings.LOGIN_REDIRECT_URL = "/orders/"

    assert browser.sign_in(next=next_url)["Location"] == page
    assert browser.get("/accounts/login/", data={"next": next_url})["Location"] == page


def test_a_sign_in_at_the_provider_leads_there(
    odd_provider: OddProvider, newcomer: Browser, settings: Settings
) -> None:
    settings.LOGIN_REDIRECT_URL = "/orders/"

    assert newcomer.get(odd_provider.come_back(begin(newcomer, "")))["Location"] == "/orders/"
    assert newcomer.get("/accounts/login/")["Location"] == "/orders/"
