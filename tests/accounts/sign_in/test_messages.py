"""What the next page says after a sign-in and after a sign-out."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from pytest_django import Settings

import config.urls
from tests.accounts.at_provider import PROVIDERS_SIGN_OUT, begin
from tests.accounts.odd_provider import OddProvider
from tests.browsers import ADA, GRACE, Browser
from tests.demo_api.users import DEMO_USERS

IN = '<p class="notice success" role="status">You are signed in'
OUT = '<p class="notice success" role="status">You are signed out.</p>'


def leave_a_message(request: HttpRequest) -> HttpResponse:
    messages.info(request, "Ada's order was sent.")
    return HttpResponse()


urlpatterns = [path("order/", leave_a_message), path("", include(config.urls))]


def test_the_next_page_says_once_who_signed_in_and_that_they_signed_out(browser: Browser) -> None:
    browser.sign_in()
    assert f"{IN} as {ADA}.</p>" in browser.get("/").text
    assert IN not in browser.get("/").text

    browser.sign_out()
    assert OUT in browser.get("/").text
    assert OUT not in browser.get("/").text


def test_a_message_of_the_previous_user_is_not_shown_to_the_next_one(signed_in: Browser, settings: Settings) -> None:
    settings.ROOT_URLCONF = __name__
    signed_in.get("/order/")
    signed_in.sign_out()
    assert signed_in.get("/").text.count('class="notice') == 1

    signed_in.sign_in()
    signed_in.get("/order/")
    signed_in.sign_in(GRACE)
    text = signed_in.get("/").text

    assert f"{IN} as {GRACE}." in text
    assert "order was sent" not in text


def test_a_script_leaves_no_message_and_none_of_the_previous_user(signed_in: Browser, settings: Settings) -> None:
    settings.ROOT_URLCONF = __name__
    wants_json = {"Accept": "application/json"}
    signed_in.get("/order/")
    assert signed_in.post("/accounts/logout/", headers=wants_json).status_code == 204
    assert 'class="notice' not in signed_in.get("/").text

    signed_in.get("/order/")
    form = {"username": GRACE, "password": DEMO_USERS[GRACE]}
    assert signed_in.post("/accounts/login/", form, headers=wants_json).json()["user"]["name"] == GRACE
    assert 'class="notice' not in signed_in.get("/").text


def test_at_a_provider_the_page_after_the_provider_says_it(odd_provider: OddProvider) -> None:
    newcomer = Browser()
    newcomer.get(odd_provider.come_back(begin(newcomer)))
    assert f"{IN} as Ada.</p>" in newcomer.get("/").text

    left = newcomer.sign_out()
    if "You are signed out here" in left.text:
        newcomer.get(PROVIDERS_SIGN_OUT)
    assert newcomer.get("/").text.count("You are signed out") == 1
