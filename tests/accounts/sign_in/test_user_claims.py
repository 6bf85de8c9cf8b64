"""`request.user.claims`: what API_USER_CLAIMS names, kept with the session and renewed with its tokens."""

import secrets
from typing import Any

import jwt
import pytest
from django.contrib.auth.decorators import user_passes_test
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from pytest_django import Settings

from accounts.api_client import ApiRequest
from accounts.models import SessionRecord
from accounts.session.claims import MAX_CLAIMS_BYTES
from config.urls import urlpatterns as site
from tests.accounts.at_provider import begin
from tests.accounts.odd_provider import USERINFO, OddProvider, renewed
from tests.browsers import ADA, Browser
from tests.demo_api.server import DemoApi, Fault

KEYCLOAK = "realm_access.roles"
AUTH0 = "https://example.com/roles"
TOO_LARGE = [f"role-{number}" for number in range(MAX_CLAIMS_BYTES // 8)]
SECRET_ROLE = "keeper-of-the-lighthouse"


def claims(request: ApiRequest) -> HttpResponse:
    return JsonResponse(request.user.claims)


def is_editor(user: Any) -> bool:
    return "editors" in user.claims.get("roles", [])


@user_passes_test(is_editor)
def editors(request: HttpRequest) -> HttpResponse:
    return HttpResponse("edit")


urlpatterns = [path("claims/", claims), path("editors/", editors), *site]
pytestmark = pytest.mark.urls(__name__)


def token(**fields: object) -> str:
    return jwt.encode({"jti": secrets.token_urlsafe(), **fields}, "k" * 32, algorithm="HS256")


def sign_in(provider: OddProvider, browser: Browser) -> Any:
    return browser.get(provider.come_back(begin(browser)))


def rotate(provider: OddProvider | DemoApi, browser: Browser) -> None:
    generation = browser.session().generation
    provider.expire_access_tokens()
    assert browser.open_page().status_code == 200
    assert browser.session().generation == generation + 1


class TestAtAProvider:
    def test_come_from_the_tokens_and_userinfo_and_each_is_renewed_with_its_source(
        self, odd_provider: OddProvider, newcomer: Browser, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.API_USER_CLAIMS = [KEYCLOAK, AUTH0, "tenant", "missing"]
        access = {"realm_access": {"roles": [SECRET_ROLE, "editors"]}, "aud": "api"}
        odd_provider.tokens = {"access_token": lambda: token(**access)}
        odd_provider.claims = {AUTH0: ["admin"], KEYCLOAK: ["an older one"], "exact": 1}
        odd_provider.userinfo = {"tenant": {"id": 5}}
        sign_in(odd_provider, newcomer)

        assert newcomer.get("/claims/").json() == {
            KEYCLOAK: [SECRET_ROLE, "editors"],
            AUTH0: ["admin"],
            "tenant": {"id": 5},
        }

        # The refresh has an access token that names no roles, and no ID token.
        del access["realm_access"]
        rotate(odd_provider, newcomer)
        assert newcomer.get("/claims/").json() == {AUTH0: ["admin"], "tenant": {"id": 5}}

        # Now it has an ID token, with other roles.
        odd_provider.tokens["id_token"] = renewed(odd_provider, **{AUTH0: []})
        rotate(odd_provider, newcomer)
        assert newcomer.get("/claims/").json() == {AUTH0: [], "tenant": {"id": 5}}
        assert SECRET_ROLE not in caplog.text
        assert SECRET_ROLE not in f"{newcomer.session()!r}"

    def test_stay_with_opaque_tokens_and_cost_no_userinfo_request_where_the_tokens_have_them(
        self, odd_provider: OddProvider, newcomer: Browser, settings: Settings
    ) -> None:
        settings.API_USER_CLAIMS = ["groups"]
        odd_provider.claims = {"groups": ["editors"]}
        sign_in(odd_provider, newcomer)
        rotate(odd_provider, newcomer)

        assert newcomer.get("/claims/").json() == {"groups": ["editors"]}
        assert odd_provider.count("GET", USERINFO) == 0

        settings.API_USER_CLAIMS = []
        rotate(odd_provider, newcomer)
        assert newcomer.get("/claims/").json() == {}

    def test_a_userinfo_request_that_fails_costs_only_its_claims(
        self, odd_provider: OddProvider, newcomer: Browser, settings: Settings
    ) -> None:
        settings.API_USER_CLAIMS = ["groups", "tenant"]
        odd_provider.claims = {"groups": ["editors"]}
        odd_provider.fail("GET", USERINFO, Fault.answer(503))

        sign_in(odd_provider, newcomer)

        assert newcomer.get("/claims/").json() == {"groups": ["editors"]}

    def test_too_large_at_sign_in_is_said_to_the_developer(
        self, odd_provider: OddProvider, newcomer: Browser, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.API_USER_CLAIMS = ["roles"]
        odd_provider.claims = {"roles": TOO_LARGE}

        settings.DEBUG = False
        calm = sign_in(odd_provider, newcomer)
        settings.DEBUG = True
        plain = sign_in(odd_provider, newcomer)

        assert (calm.status_code, plain.status_code) == (502, 502)
        assert "API_USER_CLAIMS" not in calm.text
        assert f"the limit is {MAX_CLAIMS_BYTES}" in plain.text
        assert "API_USER_CLAIMS" in plain.text
        assert "API_USER_CLAIMS" in caplog.text
        assert "role-1" not in caplog.text + plain.text
        assert odd_provider.count("POST", odd_provider.revoke_call[1]) == 2
        assert not SessionRecord.objects.exists()


class TestTokenPair:
    @pytest.fixture(autouse=True)
    def claims_named(self, settings: Settings) -> None:
        settings.API_USER_CLAIMS = ["roles", "tenant"]

    def sign_in(
        self, api: DemoApi, browser: Browser, *, body: dict[str, object] | None = None, **fields: object
    ) -> Any:
        user = {"id": 1, "email": ADA, **fields}
        pair = body or {"accessToken": token(tenant="north", user=user), "refreshToken": "r"}
        api.fail("POST", "/auth/login", Fault.answer(200, pair))
        return browser.sign_in()

    def rotate(self, api: DemoApi, browser: Browser, pair: dict[str, object]) -> None:
        api.fail("POST", "/auth/refresh", Fault.answer(200, pair))
        api.fail("GET", "/protected-route", Fault.answer(401, {"message": "expired"}))
        api.fail("GET", "/protected-route", Fault.answer(200, {"data": []}))
        assert browser.open_page().status_code == 200

    def test_stand_in_the_user_of_the_access_token(self, api: DemoApi, browser: Browser) -> None:
        self.sign_in(api, browser, roles=["editors"])

        assert browser.get("/claims/").json() == {"roles": ["editors"], "tenant": "north"}
        assert browser.get("/editors/").content == b"edit"

    def test_stand_in_the_user_of_the_response_with_opaque_tokens(self, api: DemoApi, browser: Browser) -> None:
        user = {"id": 1, "roles": ["editors"]}
        self.sign_in(api, browser, body={"accessToken": "a", "refreshToken": "r", "user": user})
        assert browser.get("/claims/").json() == {"roles": ["editors"]}

        for refreshed, roles in (({}, ["editors"]), ({"user": {"roles": ["readers"]}}, ["readers"])):
            pair: dict[str, object] = {"accessToken": secrets.token_urlsafe(), "refreshToken": "r", **refreshed}
            self.rotate(api, browser, pair)
            assert browser.get("/claims/").json() == {"roles": roles}

    def test_too_large_after_a_rotation_leaves_the_session_without_them(
        self, api: DemoApi, browser: Browser, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.sign_in(api, browser, roles=["editors"])
        too_large = token(tenant="north", user={"id": 1, "roles": TOO_LARGE})
        self.rotate(api, browser, {"accessToken": too_large, "refreshToken": "r2"})

        assert browser.session().generation == 1
        assert browser.get("/claims/").json() == {}
        assert browser.get("/editors/")["Location"].startswith("/accounts/login/?switch=1")
        errors = [record for record in caplog.records if record.levelname == "ERROR"]
        assert ["API_USER_CLAIMS" in error.getMessage() for error in errors] == [True]
