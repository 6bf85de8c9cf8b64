"""oidc-provider ends sessions of this site."""

from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts.models import EndReason, SessionRecord
from tests.accounts.at_provider import begin, sign_in_at_provider, walk
from tests.accounts.conftest import point_at
from tests.browsers import GRACE, Browser
from tests.real_apis.oauth.client import CLIENT_ID
from tests.real_apis.oidc import OidcProvider
from tests.real_apis.visitor import Visitor


@pytest.fixture(scope="module")
def running() -> Iterator[OidcProvider]:
    with OidcProvider() as provider:
        provider.register_site("http://testserver")
        yield provider


@pytest.fixture
def oidc_provider(
    running: OidcProvider, settings: Settings, transactional_db: None, no_documents: None
) -> OidcProvider:
    point_at(settings, running.site_environment)
    running.forget_calls()
    return running


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
