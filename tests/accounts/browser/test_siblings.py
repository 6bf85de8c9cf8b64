"""Attacks from another subdomain: another origin, but the same site.

Its requests carry our SameSite cookies, and it may set any cookie for the parent domain.
"""

import dataclasses

import pytest
from django.http import HttpResponse, JsonResponse
from django.urls import path
from pytest_django import Settings

from accounts.api_client import ApiRequest
from config.urls import urlpatterns as site
from tests.browsers import ADA, GRACE, Browser
from tests.demo_api.server import DemoApi
from tests.demo_api.users import DEMO_USERS

SIBLING = "https://sibling.testserver"
#: Unicode spaces, which `str.strip` removes. Browsers treat them as a part of the cookie's name.
SPACES = ["\u0085", "\u00a0", "\u2000", "\u2028", "\u3000"]
KNOWN = "k" * 32  # a CSRF token that the sibling has chosen, as the cookie and in its forms


def shared(request: ApiRequest) -> HttpResponse:
    """A view whose response other origins may include."""
    request.api_session.require()
    return HttpResponse("pier", headers={"Cross-Origin-Resource-Policy": "cross-origin"})


def cookies_seen(request: ApiRequest) -> HttpResponse:
    """The names of the cookies that reach a view while the user is signed in."""
    request.api_session.require()
    return JsonResponse([*request.COOKIES], safe=False)


urlpatterns = [path("shared/", shared), path("cookies/", cookies_seen), *site]
pytestmark = pytest.mark.urls(__name__)


def on_the_wire(header: str) -> str:
    """A header as WSGI passes it: UTF-8, decoded as Latin-1 (PEP 3333)."""
    return header.encode().decode("latin-1")


class TestDisguisedCookies:
    @pytest.fixture
    def graces(self, api: DemoApi, transactional_db: None) -> dict[str, str]:
        """The cookies of another user's session."""
        grace = Browser()
        grace.sign_in(GRACE)
        return grace.take()

    @pytest.mark.parametrize("space", SPACES, ids=ascii)
    @pytest.mark.parametrize("place", ["in front of the name", "behind it"])
    def test_does_not_replace_ours(self, signed_in: Browser, graces: dict[str, str], space: str, place: str) -> None:
        disguised = f"session{space}" if place == "behind it" else f"{space}session"
        header = f"session={signed_in.take()['session']}; {disguised}={graces['session']}"

        response = Browser().get("/accounts/session/", HTTP_COOKIE=on_the_wire(header))

        assert response.json()["user"]["name"] == ADA

    def test_does_not_sign_in(self, browser: Browser, graces: dict[str, str]) -> None:
        header = f"\u2000session={graces['session']}"

        response = browser.get("/accounts/session/", HTTP_COOKIE=on_the_wire(header))

        assert response.json()["authenticated"] is False

    def test_other_cookies_are_still_read(self, signed_in: Browser) -> None:
        header = f"\u2000a=1; näme=ä; session={signed_in.take()['session']}; last=ö=1"

        response = Browser().get("/cookies/", HTTP_COOKIE=on_the_wire(header))

        assert response.json() == ["session", "last"]


class TestAForgedForm:
    """The sibling set `csrftoken` for the domain, so it knows the token. Only the origin gives the forged form away."""

    @pytest.mark.parametrize(
        ("address", "form"),
        [
            ("/accounts/login/", {"username": GRACE, "password": DEMO_USERS[GRACE]}),
            ("/accounts/logout/", {}),
            ("/accounts/session/update/", {"session": "update"}),
            ("/protected/api/protected-route", {"item": "7"}),
            ("/admin/login/", {"username": "eve", "password": "mooring"}),
        ],
        ids=["sign-in", "sign-out", "session update", "a call to the API", "the admin's sign-in"],
    )
    @pytest.mark.parametrize(
        "origin",
        [{"HTTP_ORIGIN": SIBLING}, {"HTTP_ORIGIN": "null"}, {"HTTP_REFERER": f"{SIBLING}/"}, {}],
        ids=["another origin", "a sandbox", "another referer", "neither"],
    )
    def test_is_refused(
        self,
        signed_in: Browser,
        api: DemoApi,
        settings: Settings,
        address: str,
        form: dict[str, str],
        origin: dict[str, str],
    ) -> None:
        settings.API_PROXY_ALLOW = "POST /protected-route"
        victim = Browser({**signed_in.take(), "csrftoken": KNOWN}, csrf_checks=True)
        api.forget_calls()

        response = victim.post(
            address, {"csrfmiddlewaretoken": KNOWN, **form}, secure=True, HTTP_X_CSRFTOKEN=KNOWN, **origin
        )

        assert response.status_code == 403
        assert api.calls == []
        assert victim.session().user.name == ADA

    def test_a_form_of_this_site_is_accepted(self, signed_in: Browser) -> None:
        person = Browser({**signed_in.take(), "csrftoken": KNOWN}, csrf_checks=True)

        response = person.post(
            "/accounts/logout/", {"csrfmiddlewaretoken": KNOWN}, secure=True, HTTP_ORIGIN="https://testserver"
        )

        assert response.status_code == 302


class TestCrossOriginIncludes:
    @pytest.mark.parametrize(
        "address",
        [
            "/protected/",
            "/protected/stream/?rows=1&delay=0",
            "/protected/api/protected-route",
            "/accounts/session/",
            "/protected/api/nowhere",
        ],
    )
    def test_a_response_that_depends_on_the_session_cannot_be_included(self, signed_in: Browser, address: str) -> None:
        response = signed_in.get(address)

        if response.status_code == 200:
            assert response["Cross-Origin-Resource-Policy"] == "same-origin"
        else:
            assert "Vary" not in response, "a response that does not depend on the session may be included"
        assert "Access-Control-Allow-Origin" not in response

    def test_a_view_can_allow_it(self, signed_in: Browser) -> None:
        assert signed_in.get("/shared/")["Cross-Origin-Resource-Policy"] == "cross-origin"


def test_a_session_update_is_refused_for_another_session(signed_in: Browser, api: DemoApi) -> None:
    """An attacker who plants a cookie of their own session does not get the user's session update into it."""
    grace = Browser()
    grace.sign_in(GRACE)
    update = dataclasses.replace(signed_in.session(), generation=1).seal_for_update()

    response = grace.post("/accounts/session/update/", {"session": update}, content_type="application/json")

    assert response.status_code == 400
    assert grace.session().user.name == GRACE
