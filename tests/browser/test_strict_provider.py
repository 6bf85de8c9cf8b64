"""Signing in at a provider that requires PAR, private_key_jwt and DPoP, in a real browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.accounts.at_provider import without_nonce_requests
from tests.browser.conftest import ADA, PATIENCE_MS, STATION, run_server
from tests.browser.watch import Watch
from tests.demo_api.server import DEMO_USERS, Fault, Gate
from tests.load.processes import wait_until
from tests.real_apis.oidc import OidcProvider

pytestmark = pytest.mark.browser

ROUTE = "/protected-route"
TABS = 10
#: Chromium's own limit of connections to one host.
AT_ONCE = 6


@pytest.fixture
def provider(chromium: Browser) -> Iterator[OidcProvider]:
    """After the browser, so that without one nothing is started."""
    bound = {"dpop": True, "dpop_nonces": True}
    with OidcProvider(access_ttl=3600, private_key_jwt=True, par="required", fapi=True, **bound) as provider:
        yield provider


def sign_in(page: Page) -> None:
    """On the provider's page, where the user name is there already."""
    page.get_by_label("Password").fill(DEMO_USERS[ADA])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("/protected/")


def open_tabs_over_an_expiry(page: Page, provider: OidcProvider) -> None:
    person = page.context
    provider.expire_access_tokens()
    provider.forget_calls()
    with Gate() as gate:
        provider.fail(*provider.refresh_call, Fault.hold_before(gate))
        page.evaluate("count => { while (count) window.open(`/protected/?tab=${count--}`); }", TABS)
        wait_until(lambda: provider.count("GET", ROUTE, 401) == AT_ONCE, "as many as can have met a 401")
        gate.release()
        wait_until(lambda: page.evaluate("true") and len(person.pages) == TABS + 1, "all tabs are there")
        for tab in set(person.pages) - {page}:
            expect(tab.get_by_text("rotated 1 time")).to_be_visible()


def test_sign_in_ten_tabs_over_an_expiry_sign_out_and_back_channel_logout(
    chromium: Browser, provider: OidcProvider, tmp_path_factory: pytest.TempPathFactory
) -> None:
    environment = {**provider.site_environment, "API_READ_TIMEOUT": "60"}
    api_url = environment.pop("API_BASE_URL")
    with (
        run_server(api_url, tmp_path_factory.mktemp("site"), **environment) as address,
        # To the browser, `localhost` and `127.0.0.1` are two sites.
        chromium.new_context(base_url=address.replace("127.0.0.1", "localhost")) as person,
    ):
        provider.register_site(address.replace("127.0.0.1", "localhost"))
        provider.read_keys_from(address)
        provider.register_back_channel_logout(address)
        person.set_default_timeout(PATIENCE_MS)
        watch = Watch(person)
        page = person.new_page()

        page.goto(f"/accounts/login/?next=/protected/&login_hint={ADA}&ui_locales=de")
        page.get_by_role("button", name="Sign in at 127.0.0.1").click()
        expect(page.get_by_label("Username")).to_have_value(ADA)
        assert "login_hint" not in page.url
        sign_in(page)
        expect(page.get_by_role("rowheader", name=STATION)).to_be_visible()

        open_tabs_over_an_expiry(page, provider)
        refreshes = without_nonce_requests([call for call in provider.calls if provider.is_refresh(call)])
        assert ([call.status for call in refreshes], provider.reuses) == ([200], 0)

        page.reload()
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("button", name="Sign out").click()  # the provider asks, too
        page.wait_for_url("/")
        assert provider.count(*provider.revoke_call, 200) == 1

        page.goto("/protected/")
        page.get_by_role("button", name="Sign in at 127.0.0.1").click()
        page.get_by_label("Username").fill(ADA)
        sign_in(page)
        assert provider.end_sessions(ADA) == [""]
        provider.expire_access_tokens()
        page.reload()
        expect(page.get_by_text("the service that signs you in ended it")).to_be_visible()
        assert watch.complaints == []
