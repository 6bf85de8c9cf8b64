"""Views with Django's own decorators: a signed-in user whom they refuse is not redirected without end."""

import html
import re
from urllib.parse import urlencode

import pytest
from django.contrib.auth.decorators import login_required, permission_required, user_passes_test
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path

from accounts.api_client import ApiRequest
from accounts.exceptions import NotSignedIn
from config.urls import handler403 as handler403  # Django takes it from this module
from config.urls import urlpatterns as site
from tests.accounts.at_provider import begin
from tests.accounts.odd_provider import OddProvider
from tests.browsers import ADA, GRACE, Browser, records_away


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello")


def never(request: ApiRequest) -> HttpResponse:
    raise NotSignedIn("not with this account")


def back_to_a_whole_url(request: HttpRequest) -> HttpResponse:
    return redirect(f"/accounts/login/?{urlencode({'next': request.build_absolute_uri()})}")


def forbidden(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied


def to_another_page(request: HttpRequest) -> HttpResponse:
    return redirect("/accounts/login/?next=/protected/")


urlpatterns = [
    path("members/", user_passes_test(lambda user: False)(hello)),
    path("files/гавань/", user_passes_test(lambda user: False)(hello)),
    path("named/", user_passes_test(lambda user: False, login_url="accounts:login")(hello)),
    path("whole/", user_passes_test(lambda user: False, login_url="http://testserver/accounts/login/")(hello)),
    path("no-slash/", user_passes_test(lambda user: False, login_url="/accounts/login")(hello)),
    path("personal/", login_required(hello)),
    path("staff/", permission_required("accounts.end_sessions")(hello)),
    path("never/", never),
    path("absolute/гавань/", back_to_a_whole_url),
    path("forbidden/", forbidden),
    path("elsewhere/", to_another_page),
    *site,
]
pytestmark = pytest.mark.urls(__name__)

VIEWS = [
    "/members/",
    "/members/?page=2&q=a+b",
    "/files/гавань/?q=ё",
    "/named/",
    "/whole/",
    "/no-slash/",
    "/staff/",
]


@pytest.mark.parametrize("view", [*VIEWS, "/never/", "/absolute/гавань/?q=ё"])
def test_a_signed_in_user_gets_the_form_for_another_account(signed_in: Browser, view: str) -> None:
    page = signed_in.get(view, follow=True)  # raises at a redirect to an address that it has seen

    assert page.status_code == 200
    assert page.redirect_chain[-1][0].startswith("/accounts/login/?switch=1&next=")  # type: ignore[attr-defined]
    assert ADA in page.text
    assert 'action="/accounts/logout/"' in page.text
    assert 'type="password"' in page.text


@pytest.mark.parametrize("view", VIEWS)
def test_so_does_one_whose_form_it_refuses(signed_in: Browser, view: str) -> None:
    assert signed_in.post(view)["Location"].startswith("/accounts/login/?switch=1&next=")


def test_a_script_is_told_with_a_403(signed_in: Browser) -> None:
    script = signed_in.get("/members/", headers={"Accept": "application/json", "Referer": "http://testserver/orders/"})
    htmx = signed_in.get("/staff/", headers={"HX-Request": "true", "HX-Current-URL": "/orders/"})
    denied = signed_in.get("/forbidden/", headers={"Accept": "application/json"})

    assert (script.status_code, htmx.status_code, denied.status_code) == (403, 403, 403)
    another = "/accounts/login/?switch=1&next=%2Forders%2F"
    assert script.json() == {"detail": "Your account does not have the permission for this.", "login": another}
    assert htmx["HX-Redirect"] == another
    assert denied.json() == {"detail": "You do not have the permission for this."}


def test_another_account_leads_back_to_the_view(signed_in: Browser) -> None:
    page = signed_in.get("/members/?page=2", follow=True)
    next_field = re.search(r'name="next" value="([^"]*)"', page.text)
    assert next_field

    assert signed_in.sign_in(GRACE, next=next_field[1])["Location"] == "/members/?page=2"


@pytest.mark.parametrize("query", ["page=2&q=%D1%91", "q=" + "%D0%B6" * 1400])
def test_the_page_of_a_403_leads_to_another_account_and_back(signed_in: Browser, query: str) -> None:
    page = signed_in.get(f"/forbidden/?{query}")
    link = re.search(r'href="(/accounts/login/[^"]*)">use another account', page.text)
    assert link
    form = signed_in.get(html.unescape(link[1]))
    next_field = re.search(r'name="next" value="([^"]*)"', form.text)
    assert next_field

    assert (page.status_code, form.status_code) == (403, 200)
    assert len(link[1]) < 8000
    assert ADA in form.text
    assert html.unescape(next_field[1]) == (f"/forbidden/?{query}" if len(query) < 1000 else "/forbidden/")


def test_without_the_database_too(signed_in: Browser) -> None:
    with records_away():
        assert signed_in.get("/members/", follow=True).status_code == 200


@pytest.mark.parametrize("view", ["/members/", "/personal/"])
def test_a_visitor_gets_the_redirect_of_django(browser: Browser, view: str) -> None:
    answer = browser.get(view)

    assert answer["Location"] == f"/accounts/login/?next={view}"
    assert "Cookie" in answer["Vary"]


def test_a_redirect_that_leads_to_another_page_stays(signed_in: Browser) -> None:
    assert signed_in.get("/elsewhere/", follow=True).redirect_chain == [  # type: ignore[attr-defined]
        ("/accounts/login/?next=/protected/", 302),
        ("/protected/", 302),
    ]


def test_at_a_provider_too(odd_provider: OddProvider, newcomer: Browser) -> None:
    newcomer.get(odd_provider.come_back(begin(newcomer)))

    page = newcomer.get("/members/", follow=True)

    assert page.status_code == 200
    assert '<input type="hidden" name="switch" value="1">' in page.text
