"""The site as it runs in production at real providers, by plain HTTP: sign-in, tabs over an expiry, sign-out,
back-channel logout.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.doctor.findings import Status
from accounts.doctor.provider import examine_provider
from tests.accounts.at_provider import without_nonce_requests
from tests.accounts.conftest import point_at
from tests.accounts.doctor.reports import by_name
from tests.browsers import ADA
from tests.load.browser import Browser
from tests.load.site import Site
from tests.real_apis.apis import AnyProvider, OAuthProvider
from tests.real_apis.oidc import OidcProvider

TABS = 10
PROVIDERS: dict[str, Callable[[], AnyProvider]] = {
    "FAPI 2.0 with PAR, private_key_jwt and DPoP": lambda: OidcProvider(
        private_key_jwt=True, par="required", dpop=True, dpop_nonces=True, fapi=True
    ),
    "django-oauth-toolkit": OAuthProvider,
}


@contextmanager
def running_site(provider: AnyProvider, folder: Path) -> Iterator[Site]:
    """The site, registered at the provider, which reads the client's keys from it."""
    database = f"sqlite:///{folder / 'db.sqlite3'}"
    environment = {**provider.site_environment, "API_READ_TIMEOUT": "30"}
    site = Site(database_url=database, api_url=provider.url, workers=2, environment=environment)
    site.migrate()
    url = f"http://127.0.0.1:{site.port}"
    provider.register_site(url)
    with site:
        if isinstance(provider, OidcProvider):
            provider.read_keys_from(url)
            provider.register_back_channel_logout(url)
        yield site


@pytest.mark.parametrize("kind", PROVIDERS)
def test_the_journey(kind: str, tmp_path: Path, settings: Settings, no_documents: None) -> None:
    with PROVIDERS[kind]() as provider, running_site(provider, tmp_path) as site:
        browser = Browser(site.port)
        browser.sign_in()
        provider.expire_access_tokens()
        provider.forget_calls()

        tabs = browser.open_tabs(TABS)

        assert [tab.answer().status for tab in tabs] == [200] * TABS
        refreshes = without_nonce_requests([call for call in provider.calls if provider.is_refresh(call)])
        assert ([call.status for call in refreshes], provider.reuses) == ([200], 0)
        session = browser.open("/accounts/session/").json()
        assert (session["user"]["name"], session["generation"]) == ("Ada", 1)
        assert browser.sign_out().status in (200, 302)
        assert provider.count(*provider.revoke_call, 200) == 1
        provider.expire_access_tokens()
        assert browser.open().signs_out

        if isinstance(provider, OidcProvider):
            browser.sign_in()
            assert set(provider.end_sessions(ADA)) == {""}
            provider.expire_access_tokens()
            assert "ended=by-provider" in browser.open().header("Location")

        # The doctor reads the keys where the provider does.
        point_at(settings, provider.site_environment)
        findings = by_name(examine_provider(f"http://127.0.0.1:{site.port}"))
        assert {finding.status for finding in findings.values()} == {Status.OK}
        assert ("jwks" in findings) == isinstance(provider, OidcProvider)
