"""What another subdomain can do, that somebody else may have taken over: it is another origin, and the same site.

Its requests come with our SameSite cookies, and it may set cookies for the domain above both, whatever their values.
"""

import dataclasses

import pytest
from django.http import HttpResponse, JsonResponse
from django.urls import path
from pytest_django import Settings

from accounts.api import ApiRequest
from config.urls import urlpatterns as site
from tests.browsers import ADA, GRACE, Browser
from tests.demo_api.server import DemoApi
from tests.demo_api.users import DEMO_USERS

SIBLING = "https://sibling.testserver"
#: What Unicode calls a space, and `str.strip` drops. To a browser it is the beginning of a name.
SPACES = ["\u0085", "\u00a0", "\u2000", "\u2028", "\u3000"]
KNOWN = "k" * 32  # a CSRF token that the sibling has chosen, as the cookie and in its forms


def shared(request: ApiRequest) -> HttpResponse:
    """A view whose answer other origins may include."""
    request.api_session.require()
    return HttpResponse("pier", headers={"Cross-Origin-Resource-Policy": "cross-origin"})


def cookies_seen(request: ApiRequest) -> HttpResponse:
    """The names of the cookies that reach a view of somebody who is signed in."""
    request.api_session.require()
    return JsonResponse([*request.COOKIES], safe=False)


urlpatterns = [path("shared/", shared), path("cookies/", cookies_seen), *site]
pytestmark = pytest.mark.urls(__name__)


def on_the_wire(header: str) -> str:
    """Text in UTF-8, as WSGI spells it (PEP 3333)."""
    return header.encode().decode("latin-1")


class TestACookieThatOnlyLooksLikeOurs:
    @pytest.fixture
    def graces(self, api: DemoApi, transactional_db: None) -> dict[str, str]:
        """The cookies of somebody else, who signed in as herself."""
        grace = Browser()
        grace.sign_in(GRACE)
        return grace.take()

    @pytest.mark.parametrize("space", SPACES, ids=ascii)
    @pytest.mark.parametrize("place", ["in front of the name", "behind it"])
    def test_takes_nobodys_place(self, signed_in: Browser, graces: dict[str, str], space: str, place: str) -> None:
        disguised = f"session{space}" if place == "behind it" else f"{space}session"
        header = f"session={signed_in.take()['session']}; {disguised}={graces['session']}"

        answer = Browser().get("/accounts/session/", HTTP_COOKIE=on_the_wire(header))

        assert answer.json()["user"]["name"] == ADA

    def test_signs_nobody_in(self, browser: Browser, graces: dict[str, str]) -> None:
        header = f"\u2000session={graces['session']}"

        answer = browser.get("/accounts/session/", HTTP_COOKIE=on_the_wire(header))

        assert answer.json()["authenticated"] is False

    def test_hides_no_other_cookie(self, signed_in: Browser) -> None:
        header = f"\u2000a=1; näme=ä; session={signed_in.take()['session']}; last=ö=1"

        answer = Browser().get("/cookies/", HTTP_COOKIE=on_the_wire(header))

        assert answer.json() == ["session", "last"]


class TestAForgedForm:
    """The sibling has set `csrftoken` for the domain, and sends the same token: what is left is where it comes from."""

    @pytest.mark.parametrize(
        ("address", "form"),
        [
            ("/accounts/login/", {"username": GRACE, "password": DEMO_USERS[GRACE]}),
            ("/accounts/logout/", {}),
            ("/accounts/session/update/", {"session": "hand-off"}),
            ("/protected/api/protected-route", {"item": "7"}),
            ("/admin/login/", {"username": "eve", "password": "mooring"}),
        ],
        ids=["sign-in", "sign-out", "hand-off", "a call to the API", "the admin's sign-in"],
    )
    @pytest.mark.parametrize(
        "comes_from",
        [{"HTTP_ORIGIN": SIBLING}, {"HTTP_ORIGIN": "null"}, {"HTTP_REFERER": f"{SIBLING}/"}, {}],
        ids=["its origin", "a sandbox", "its address", "nowhere"],
    )
    def test_is_refused(
        self,
        signed_in: Browser,
        api: DemoApi,
        settings: Settings,
        address: str,
        form: dict[str, str],
        comes_from: dict[str, str],
    ) -> None:
        settings.API_PROXY_ALLOW = "POST /protected-route"
        victim = Browser({**signed_in.take(), "csrftoken": KNOWN}, csrf_checks=True)
        api.forget_calls()

        answer = victim.post(
            address, {"csrfmiddlewaretoken": KNOWN, **form}, secure=True, HTTP_X_CSRFTOKEN=KNOWN, **comes_from
        )

        assert answer.status_code == 403
        assert api.calls == []
        assert victim.session().user.name == ADA

    def test_our_own_is_not(self, signed_in: Browser) -> None:
        person = Browser({**signed_in.take(), "csrftoken": KNOWN}, csrf_checks=True)

        answer = person.post(
            "/accounts/logout/", {"csrfmiddlewaretoken": KNOWN}, secure=True, HTTP_ORIGIN="https://testserver"
        )

        assert answer.status_code == 302


class TestWhatItIncludes:
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
    def test_what_depends_on_the_session_is_for_no_other_origin(self, signed_in: Browser, address: str) -> None:
        answer = signed_in.get(address)

        if answer.status_code == 200:
            assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
        else:
            assert "Vary" not in answer, "and what says nothing of it may be anybody's"
        assert "Access-Control-Allow-Origin" not in answer

    def test_a_view_may_say_otherwise(self, signed_in: Browser) -> None:
        assert signed_in.get("/shared/")["Cross-Origin-Resource-Policy"] == "cross-origin"


def test_a_session_of_somebody_elses_is_no_place_to_hand_over_to(signed_in: Browser, api: DemoApi) -> None:
    """Whoever plants a cookie of their own still cannot have the other's session handed over into it."""
    grace = Browser()
    grace.sign_in(GRACE)
    handed = dataclasses.replace(signed_in.session(), generation=1).seal_for_update()

    answer = grace.post("/accounts/session/update/", {"session": handed}, content_type="application/json")

    assert answer.status_code == 400
    assert grace.session().user.name == GRACE
