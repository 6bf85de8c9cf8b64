"""The limits on failed sign-ins at a provider."""

from urllib.parse import parse_qs, urlsplit

import pytest
from pytest_django import Settings

from accounts.models.attempt_count import AttemptCount
from tests.accounts.sign_in.rate_limits import (
    ELSEWHERE,
    HERE,
    PER_ADDRESS,
)
from tests.browsers import Answer, Browser
from tests.demo_api.server import DemoApi, Fault

pytestmark = pytest.mark.usefixtures("rate_limits")


class TestAtAProvider:
    @pytest.fixture(autouse=True)
    def provider(self, api: DemoApi, settings: Settings) -> None:
        """A provider that refuses each code."""
        settings.API_DIALECT = "oauth2"
        settings.OAUTH_CLIENT_ID = "site"
        settings.OAUTH_SCOPE = "orders"
        settings.OAUTH_AUTHORIZATION_ENDPOINT = f"{api.url}/authorize"
        settings.OAUTH_TOKEN_ENDPOINT = f"{api.url}/token"
        api.fail("POST", "/token", Fault.answer(400, {"error": "invalid_grant"}), times=None)

    def come_back(self, browser: Browser, address: str = HERE) -> Answer:
        """Begin a sign-in, and come back from the provider with a made-up code."""
        redirect = browser.post("/accounts/login/", REMOTE_ADDR=address)
        (state,) = parse_qs(urlsplit(redirect["Location"]).query)["state"]
        return browser.get("/accounts/callback/", data={"state": state, "code": "made-up"}, REMOTE_ADDR=address)

    def test_codes_that_are_made_up_cost_the_provider_only_so_many_calls(self, browser: Browser, api: DemoApi) -> None:
        statuses = [self.come_back(browser).status_code for _ in range(PER_ADDRESS)]
        response = self.come_back(browser)

        assert statuses == [400] * PER_ADDRESS
        assert response.status_code == 429
        assert int(response["Retry-After"]) > 0
        assert "Too many attempts to sign in have failed." in response.text
        assert api.count("POST", "/token") == PER_ADDRESS
        assert self.come_back(browser, ELSEWHERE).status_code == 400

    def test_the_begin_of_a_sign_in_is_not_counted(self, browser: Browser) -> None:
        for _ in range(PER_ADDRESS + 1):
            assert browser.post("/accounts/login/", REMOTE_ADDR=HERE).status_code == 302

        assert not AttemptCount.objects.exists()
