"""oidc-provider ends sessions of this site, and its API asks for another kind of sign-in."""

import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from django.http import HttpResponse
from django.urls import path
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts.api_client import ApiRequest
from accounts.dialects.base import Refused
from accounts.models import EndReason, SessionRecord
from accounts.rotation.token_requests import request_refresh
from accounts.upstream.dpop import new_key
from config.urls import urlpatterns as site
from tests.accounts.at_provider import begin, sign_in_at_provider, walk
from tests.accounts.conftest import point_at
from tests.accounts.sign_in.test_fresh_sign_in import grow_old, press, recent
from tests.browsers import GRACE, Browser
from tests.real_apis.oauth.client import CLIENT_ID
from tests.real_apis.oidc import OidcProvider
from tests.real_apis.visitor import Visitor


@pytest.fixture(scope="module")
def running() -> Iterator[OidcProvider]:
    with OidcProvider(private_key_jwt=True, par="required", dpop=True, dpop_nonces=True) as provider:
        provider.register_site("http://testserver")
        yield provider


@pytest.fixture
def oidc_provider(
    running: OidcProvider, settings: Settings, transactional_db: None, no_documents: None
) -> OidcProvider:
    point_at(settings, running.site_environment)
    running.forget_calls()
    return running


def money(request: ApiRequest) -> HttpResponse:
    return HttpResponse(request.api.get("/fresh-route", params={"acr_values": "second-factor"}).text)


urlpatterns = [path("money/", money), path("recent/", recent), *site]


def reason(browser: Browser) -> str:
    return SessionRecord.objects.get(pk=browser.session().id).end_reason


def test_who_signs_out_at_the_provider_or_is_signed_out_by_its_staff_is_signed_out_here(
    oidc_provider: OidcProvider, live_server: LiveServer, settings: Settings
) -> None:
    settings.API_SESSION_CHECK = "every-request"
    oidc_provider.register_back_channel_logout(live_server.url)
    desk, phone, grace = Browser(), Browser(), Browser()
    visitor = Visitor()
    sign_in_at_provider(desk, visitor=visitor)
    sign_in_at_provider(phone)
    sign_in_at_provider(grace, visitor=Visitor(GRACE))
    assert all(browser.is_signed_in() for browser in (desk, phone, grace))

    # Another site with the same provider has sent the browser of the desk there.
    query = urlencode({"client_id": CLIENT_ID, "post_logout_redirect_uri": "http://testserver/"})
    assert visitor.follow(f"{oidc_provider.issuer}/session/end?{query}") == "http://testserver/"

    assert [reason(browser) for browser in (desk, phone, grace)] == [EndReason.BY_PROVIDER, "", ""]
    assert not desk.is_signed_in()
    assert oidc_provider.end_sessions(GRACE) == [""]
    assert [reason(browser) for browser in (phone, grace)] == ["", EndReason.BY_PROVIDER]
    assert phone.is_signed_in()
    assert desk.get(walk(begin(desk))).status_code == 302
    assert desk.is_signed_in()


def test_a_stolen_refresh_token_of_a_public_client_is_useless_without_the_key(
    oidc_provider: OidcProvider, newcomer: Browser, settings: Settings
) -> None:
    settings.OAUTH_CLIENT_AUTH = settings.OAUTH_CLIENT_KEY = ""
    registered = {"token_endpoint_auth_method": "private_key_jwt", "jwks": oidc_provider.client_keys}
    oidc_provider.set_client(token_endpoint_auth_method="none", jwks=None)
    try:
        sign_in_at_provider(newcomer)
        for generation in (1, 2):
            oidc_provider.expire_access_tokens()
            assert newcomer.is_signed_in()
            assert newcomer.session().generation == generation
        thief = replace(newcomer.session().tokens, dpop_key=new_key())
        outcome = request_refresh(thief, address="", ends_at=time.monotonic() + 30, renew_lease=lambda: None)
    finally:
        oidc_provider.set_client(**registered)

    assert outcome == Refused(is_certain=True)


@pytest.mark.urls(__name__)
def test_a_step_up_for_the_api_and_a_new_sign_in_for_a_view_lead_back_to_the_page(
    oidc_provider: OidcProvider, newcomer: Browser
) -> None:
    visitor = Visitor()
    sign_in_at_provider(newcomer, visitor=visitor)
    refreshes = oidc_provider.count_refreshes()

    address = newcomer.get("/money/")["Location"]
    answer = newcomer.get(walk(press(newcomer, newcomer.get(address)), visitor))

    assert address == "/accounts/login/?next=%2Fmoney%2F&acr_values=second-factor"
    assert answer["Location"] == "/money/"
    assert newcomer.get("/money/").status_code == 200
    assert oidc_provider.count_refreshes() == refreshes
    assert newcomer.get("/recent/").status_code == 200
    grow_old(newcomer)
    oidc_provider.forget_calls()
    answer = newcomer.get(walk(press(newcomer, newcomer.get(newcomer.get("/recent/")["Location"])), visitor))
    assert answer["Location"] == "/recent/"
    assert newcomer.get("/recent/").status_code == 200
    assert any(call.path.startswith("/interaction/") for call in oidc_provider.calls), "it asked for the password"
