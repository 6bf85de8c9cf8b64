"""`require_fresh_sign_in`: views that need a recent sign-in, or one of a certain kind; and an API that asks for it."""

import time
from dataclasses import replace
from typing import Any

import pytest
from django import forms
from django.conf import settings as django_settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from pytest_django import Settings

from accounts.api_client import ApiRequest
from accounts.form_errors import API_ERRORS, add_api_errors
from accounts.fresh_sign_in import acheck_fresh_sign_in, check_fresh_sign_in, require_fresh_sign_in
from accounts.models import EndReason, SessionRecord
from accounts.session.api_session import ApiSession
from accounts.session.freshness import Freshness, read_challenge, read_freshness
from config.urls import urlpatterns as site
from tests.accounts.at_provider import begin, query_of, shown
from tests.accounts.odd_provider import TOKEN, Claims, OddProvider
from tests.browsers import ADA, GRACE, Answer, Browser, records_away
from tests.demo_api.server import DemoApi, Fault

RECENT, KIND = "/recent/?tab=2", "/kind/"
SCRIPT = {"HTTP_ACCEPT": "application/json"}
SIGN_IN_RECENTLY = "/accounts/login/?next=%2Frecent%2F%3Ftab%3D2&max_age=300"
SIGN_IN_AS_KIND = "/accounts/login/?next=%2Fkind%2F&acr_values=second-factor+hardware"


@require_fresh_sign_in(max_age=300)
def recent(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.user} acts")


@require_fresh_sign_in(acr_values="second-factor hardware")
def kind(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.user} acts")


@require_fresh_sign_in(max_age=300)
async def later(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.user} acts")


async def inside(request: HttpRequest) -> HttpResponse:
    await acheck_fresh_sign_in(request, max_age=300)
    return HttpResponse(f"{request.user} acts")


class Recent(View):
    @method_decorator(require_fresh_sign_in(max_age=300))
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(f"{request.user} acts")


class Later(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(f"{request.user} acts")


class NoteForm(forms.Form):
    note = forms.CharField()


def note(request: ApiRequest) -> HttpResponse:
    form = NoteForm(request.POST)
    status = 200
    if form.is_valid():
        try:
            check_fresh_sign_in(request, max_age=300)
            return HttpResponse("noted")
        except API_ERRORS as error:
            status = add_api_errors(form, error)
    return render(request, "base.html", {"form": form, "messages": form.non_field_errors()}, status=status)


def money(request: ApiRequest) -> HttpResponse:
    return HttpResponse(request.api.get("/money").text)


urlpatterns = [
    path("recent/", recent),
    path("kind/", kind),
    path("later/", later),
    path("inside/", inside),
    path("recent-class/", Recent.as_view()),
    path("later-class/", require_fresh_sign_in(max_age=300)(Later.as_view())),
    path("note/", note),
    path("money/", money),
    *site,
]
pytestmark = pytest.mark.urls(__name__)


def grow_old(browser: Browser, seconds: float = 301) -> None:
    """Let so much time pass since the sign-in, by the site's own clock."""
    session = browser.session()
    at = session.user.authenticated_at
    user = replace(session.user, authenticated_at=None if at is None else at - seconds)
    older = replace(session, signed_in_at=session.signed_in_at - seconds, user=user)
    browser.client.cookies[django_settings.API_SESSION_COOKIE_NAME] = older.seal_for_cookie()


def sign_in(provider: OddProvider, browser: Browser, wanted: str = "/", **claims: object) -> Answer:
    provider.claims = claims
    return browser.get(provider.come_back(begin(browser, wanted)))


def press(browser: Browser, page: Answer) -> str:
    """Press the button of a sign-in page. Returns the URL at the provider."""
    names = ("next", "switch", "max_age", "acr_values")
    fields = {name: value for name in names if (value := field_of(page, name)) is not None}
    return browser.post("/accounts/login/", fields)["Location"]


def field_of(page: Answer, name: str) -> str | None:
    _, found, rest = page.text.partition(f'<input type="hidden" name="{name}" value="')
    return rest.partition('"')[0] if found else None


def refusal(challenge: str) -> Fault:
    return Fault.answer(401, {"message": "no"}, headers={"WWW-Authenticate": challenge})


class TestRecent:
    @pytest.mark.parametrize("address", ["/recent/", "/later/", "/inside/", "/recent-class/", "/later-class/"])
    def test_every_kind_of_view(self, signed_in: Browser, address: str) -> None:
        assert signed_in.get(address).text == f"{ADA} acts"
        grow_old(signed_in)

        assert signed_in.get(address)["Location"] == f"/accounts/login/?next={address.replace('/', '%2F')}&max_age=300"
        assert signed_in.open_page().status_code == 200, "other pages work as before"
        visitor = Browser().get(address)
        assert visitor["Location"] == f"/accounts/login/?next={address.replace('/', '%2F')}&max_age=300"

    def test_with_the_form_of_this_site_they_come_back_to_the_page(self, signed_in: Browser, api: DemoApi) -> None:
        grow_old(signed_in)
        old = signed_in.session()

        answer = signed_in.get(RECENT)
        page = signed_in.get(answer["Location"])

        assert answer["Location"] == SIGN_IN_RECENTLY
        assert "This needs a recent sign-in. Please sign in again to continue." in shown(page)
        assert "another account" not in shown(page)
        assert signed_in.sign_in(next=RECENT)["Location"] == RECENT
        assert signed_in.get(RECENT).text == f"{ADA} acts"
        assert signed_in.get(answer["Location"])["Location"] == RECENT, "an old tab of the sign-in page"
        assert SessionRecord.objects.get(pk=old.id).end_reason == EndReason.REPLACED
        # Somebody else is simply signed in.
        assert signed_in.sign_in(GRACE, next=RECENT)["Location"] == RECENT
        assert signed_in.get(RECENT).text == f"{GRACE} acts"

    def test_a_script_gets_the_address_of_the_sign_in_page(self, signed_in: Browser) -> None:
        grow_old(signed_in)

        answer = signed_in.post("/recent/", HTTP_REFERER="http://testserver/recent/?tab=2", **SCRIPT)
        htmx = signed_in.get("/recent/", HTTP_HX_REQUEST="true", HTTP_HX_CURRENT_URL="http://testserver/recent/?tab=2")

        assert answer.status_code == 401
        assert answer.json() == {"detail": "This needs a recent sign-in.", "login": SIGN_IN_RECENTLY}
        assert (htmx.status_code, htmx["HX-Redirect"]) == (401, SIGN_IN_RECENTLY)

    def test_a_form_can_keep_what_was_typed(self, signed_in: Browser) -> None:
        grow_old(signed_in)

        answer = signed_in.post("/note/", {"note": "ninety words"})

        assert answer.status_code == 401
        assert "This needs a recent sign-in." in answer.text
        assert 'href="/accounts/login/?max_age=300" target="_blank"' in answer.text
        signed_in.sign_in()
        assert signed_in.post("/note/", {"note": "ninety words"}).text == "noted"

    def test_a_session_that_has_ended_elsewhere_does_not_count_however_recent(self, signed_in: Browser) -> None:
        copy = signed_in.copy()
        signed_in.sign_out()

        assert copy.get(RECENT)["Location"] == f"{SIGN_IN_RECENTLY}".replace("&max", "&ended=1&max")

    def test_while_the_database_is_unavailable_nobody_acts(self, signed_in: Browser) -> None:
        with records_away():
            assert signed_in.get(RECENT).status_code == 503

    def test_a_kind_that_this_site_does_not_offer_leads_to_a_page_that_says_so(self, signed_in: Browser) -> None:
        answer = signed_in.get(KIND)
        page = signed_in.get(answer["Location"])

        assert answer["Location"] == SIGN_IN_AS_KIND
        assert page.status_code == 403
        assert "This site does not offer it." in shown(page)

    @pytest.mark.parametrize("wrong", [{}, {"max_age": 59}, {"max_age": 0}, {"acr_values": " "}], ids=str)
    def test_the_decorator_refuses_what_makes_no_sense(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="max_age must be 60"):
            require_fresh_sign_in(**wrong)


class TestAtTheProvider:
    def test_it_is_asked_for_a_new_sign_in_and_the_old_session_is_not_revoked(
        self, odd_provider: OddProvider, newcomer: Browser
    ) -> None:
        sign_in(odd_provider, newcomer, auth_time=time.time() - 10)
        assert newcomer.get(RECENT).status_code == 200
        grow_old(newcomer)

        page = newcomer.get(newcomer.get(RECENT)["Location"])
        url = press(newcomer, page)
        odd_provider.claims = {"auth_time": time.time()}
        answer = newcomer.get(odd_provider.come_back(url))

        assert "This needs a recent sign-in. Please sign in again to continue." in shown(page)
        assert "another account" not in shown(page)
        assert (query_of(url)["max_age"], query_of(url)["prompt"]) == ("300", "login")
        assert "acr_values" not in query_of(url)
        assert answer["Location"] == RECENT
        assert newcomer.get(RECENT).text == "Ada acts"
        assert odd_provider.count(*odd_provider.revoke_call) == 0

    def test_a_visitor_is_not_asked_for_more_than_necessary(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        url = press(newcomer, newcomer.get(newcomer.get(KIND)["Location"]))

        asked = query_of(url)
        assert (asked["acr_values"], "prompt" in asked) == ("second-factor hardware", False)
        odd_provider.claims = {"acr": "hardware"}
        assert newcomer.get(odd_provider.come_back(url))["Location"] == KIND
        assert newcomer.get(KIND).status_code == 200

    def test_its_clock_does_not_matter(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        now = int(time.time())
        for ahead in (250, -250):
            sign_in(odd_provider, newcomer, iat=now + ahead, auth_time=now + ahead - 290)
            assert newcomer.get(RECENT).status_code == 200
            sign_in(odd_provider, newcomer, iat=now + ahead, auth_time=now + ahead - 310)
            assert newcomer.get(RECENT).status_code == 302

    @pytest.mark.parametrize("auth_time", [None, "yesterday", True, float("nan"), {}], ids=str)
    def test_without_auth_time_the_sign_in_here_counts(
        self, odd_provider: OddProvider, newcomer: Browser, auth_time: object
    ) -> None:
        sign_in(odd_provider, newcomer, auth_time=auth_time)
        assert newcomer.get(RECENT).status_code == 200
        grow_old(newcomer)

        assert newcomer.get(RECENT).status_code == 302

    def test_it_is_kept_over_rotations_and_userinfo(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        sign_in(odd_provider, newcomer, auth_time=time.time() - 200, acr="hardware", name=None)
        odd_provider.expire_access_tokens()
        assert newcomer.open_page().status_code == 200

        assert newcomer.session().generation == 1
        assert newcomer.get(KIND).text == "Ada acts"
        grow_old(newcomer, 150)
        assert newcomer.get(RECENT).status_code == 302

    def test_one_that_ignores_it_leads_to_a_page_that_says_so(
        self, odd_provider: OddProvider, newcomer: Browser
    ) -> None:
        sign_in(odd_provider, newcomer)
        long_ago = time.time() - 5000
        cases: list[tuple[str, Claims, str]] = [
            (RECENT, {"auth_time": long_ago}, "did not ask you to sign in again"),
            (KIND, {"acr": "password", "auth_time": long_ago}, "did not ask you for it"),
        ]
        for page, claims, words in cases:
            grow_old(newcomer)
            address = newcomer.get(page)["Location"]
            odd_provider.claims = claims
            back = odd_provider.come_back(press(newcomer, newcomer.get(address)))
            answer = newcomer.get(back)

            assert answer.status_code == 403
            assert words in shown(answer)
            assert f'href="{address}"'.replace("&", "&amp;") in answer.text
            assert newcomer.get(back).status_code == 403, "a reload"
            assert newcomer.open_page().status_code == 200
            assert newcomer.get(page)["Location"] == address

    @pytest.mark.parametrize("error", ["access_denied", "unmet_authentication_requirements"])
    def test_who_declines_stays_signed_in_and_can_try_again(
        self, odd_provider: OddProvider, newcomer: Browser, error: str
    ) -> None:
        sign_in(odd_provider, newcomer)
        address = newcomer.get(KIND)["Location"]

        url = press(newcomer, newcomer.get(address))
        answer = newcomer.get(odd_provider.come_back(url, code=None, error=error))

        assert answer.status_code == 403
        assert "This sign-in failed" in shown(answer)
        assert f'href="{address}"'.replace("&", "&amp;") in answer.text
        assert newcomer.open_page().status_code == 200

    def test_an_unavailable_provider_keeps_what_was_asked(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        sign_in(odd_provider, newcomer)
        url = press(newcomer, newcomer.get(newcomer.get(KIND)["Location"]))
        odd_provider.fail("POST", TOKEN, Fault.answer(503))

        answer = newcomer.get(odd_provider.come_back(url))

        assert answer.status_code == 503
        assert f'href="{SIGN_IN_AS_KIND}"'.replace("&", "&amp;") in answer.text


class TestTheApi:
    """RFC 9470."""

    CHALLENGE = 'DPoP algs="ES256", Bearer error="insufficient_user_authentication", error_description="a \\"b\\", c", '

    def test_its_401_leads_to_the_sign_in_and_is_no_expired_token(self, signed_in: Browser, api: DemoApi) -> None:
        challenge = self.CHALLENGE + 'max_age="300"'
        api.fail("GET", "/money", refusal(challenge), times=None)
        grow_old(signed_in)

        page, script = signed_in.get("/money/"), signed_in.get("/money/", **SCRIPT)

        assert page["Location"] == "/accounts/login/?next=%2Fmoney%2F&max_age=300"
        assert script.status_code == 401
        assert script.json()["detail"] == "This needs a recent sign-in."
        assert api.count("POST", "/auth/refresh") == 0
        assert api.count("GET", "/money") == 2
        assert signed_in.open_page().status_code == 200

    @pytest.mark.parametrize("seconds", [10, 0])
    def test_one_that_asks_again_at_once_does_not_send_the_browser_in_a_circle(
        self, signed_in: Browser, api: DemoApi, seconds: int
    ) -> None:
        """Its clock may differ, or its tokens do not say when the user signed in; or it asks for less than a minute."""
        api.fail("GET", "/money", refusal(f'{self.CHALLENGE}max_age="{seconds}"'), times=None)
        grow_old(signed_in, 5)

        page = signed_in.get(signed_in.get("/money/")["Location"])

        assert page.status_code == 200
        assert "does not accept your present sign-in for this page. Please sign in again to continue." in shown(page)
        assert signed_in.sign_in(next="/money/", max_age=str(seconds))["Location"] == "/money/"

    def test_a_page_that_has_begun_says_why_it_ends(self, signed_in: Browser, api: DemoApi) -> None:
        challenge = f'{self.CHALLENGE}acr_values="hardware"'
        api.fail("GET", "/protected-route", refusal(challenge), times=None)

        page = signed_in.get("/protected/stream/?rows=2&delay=0").getvalue().decode()

        assert "This needs another kind of sign-in, such as one with a second factor. So this page ends here." in page

    def test_the_proxy_tells_scripts_the_address(self, signed_in: Browser, api: DemoApi, settings: Settings) -> None:
        settings.API_PROXY_ALLOW = "GET /money"
        challenge = 'Bearer error="insufficient_user_authentication", acr_values="second-factor hardware"'
        api.fail("GET", "/money", refusal(challenge), times=None)

        answer = signed_in.get("/protected/api/money", HTTP_REFERER=f"http://testserver{KIND}", **SCRIPT)

        assert answer.status_code == 401
        assert answer.json()["login"] == SIGN_IN_AS_KIND
        assert api.count("POST", "/auth/refresh") == 0

    @pytest.mark.parametrize(
        ("parameters", "expected"),
        [
            ('max_age="300", acr_values="a b"', Freshness(max_age=300, acr_values="a b")),
            ("max_age=300", Freshness(max_age=300)),
            ('MAX_AGE = "0"', Freshness(max_age=0)),
            ("", Freshness(max_age=60)),
            ('max_age="-5", acr_values="\u2603"', Freshness(max_age=60)),
            ('max_age="' + "9" * 5000 + '"', Freshness(max_age=60)),
            ('max_age="9999999999"', Freshness(max_age=2**31 - 1)),
            ('max_age="300", DPoP error="invalid_token", error_description="d"', Freshness(max_age=300)),
        ],
        ids=repr,
    )
    def test_what_it_asks_for(self, parameters: str, expected: Freshness) -> None:
        assert read_challenge(self.CHALLENGE + parameters) == expected
        assert read_freshness(expected.parameters()) == expected

    @pytest.mark.parametrize(
        "header",
        ["", "Bearer", 'Bearer error="invalid_token", error_description="insufficient_user_authentication"'],
    )
    def test_another_401_is_none(self, header: str) -> None:
        assert read_challenge(header) is None


def test_the_release_before_opens_the_cookies_and_the_other_way_round(signed_in: Browser) -> None:
    session = signed_in.session()
    plain = session._to_bytes()
    user = replace(session.user, authenticated_at=5.5, acr="hardware")

    assert b"null" not in plain.partition(b"],[")[0], "nothing is added where nothing is known"
    found = ApiSession._from_bytes(replace(session, user=user)._to_bytes()).user
    assert (found.authenticated_at, found.acr) == (5.5, "hardware")
    assert ApiSession._from_bytes(plain) == session
