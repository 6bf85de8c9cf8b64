"""`request.user`: Django's own habits with somebody who is signed in at the API."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.decorators import login_required, permission_required, user_passes_test
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.models import User as StaffUser
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import engines
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import path
from django.utils.functional import SimpleLazyObject
from django.views import View
from pytest_django import Settings

from accounts.api_client import ApiRequest
from accounts.browser.user import ApiUser
from accounts.models import EndReason, SessionRecord
from accounts.rotation.ending import end_session
from accounts.sign_in.sign_in import sign_in, sign_out
from config.urls import urlpatterns as site
from tests.browsers import ADA, GRACE, Browser, cookies_set, records_away
from tests.demo_api.server import DemoApi
from tests.demo_api.users import DEMO_USERS

SHOWN = engines["django"].from_string("[{{ user }}|{% if user.is_authenticated %}in{% else %}out{% endif %}]")


def described(user: Any) -> HttpResponse:
    fields = ("is_authenticated", "is_anonymous", "is_active", "is_staff", "is_superuser", "username", "pk")
    return JsonResponse(
        {name: getattr(user, name) for name in fields}
        | {"id": user.id, "str": str(user), "get_username": user.get_username(), "class": user.__class__.__name__}
        | {"email": getattr(user, "email", None), "groups": [*user.groups.values_list("name", flat=True)]}
        | {"perms": [user.has_perm("a.b"), user.has_perms(["a.b"]), user.has_module_perms("a")]}
        | {"user_permissions": user.user_permissions.count(), "can_save": hasattr(user, "save")}
    )


def who(request: HttpRequest) -> HttpResponse:
    return described(request.user)


async def who_async(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(await request.auser()))


def does_not_look(request: HttpRequest) -> HttpResponse:
    return HttpResponse("a page for everybody")


def shows(request: HttpRequest) -> HttpResponse:
    return HttpResponse(SHOWN.render({}, request))


async def shows_async(request: HttpRequest) -> HttpResponse:
    return HttpResponse(SHOWN.render({}, request))


def changes(request: ApiRequest) -> HttpResponse:
    """Signs out, and signs in as somebody else, in one request."""
    names = [str(request.user)]
    sign_out(request)
    names.append(str(request.user))
    sign_in(request, GRACE, DEMO_USERS[GRACE])
    return JsonResponse([*names, str(request.user)], safe=False)


@login_required
def members(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"hello {request.user}")


@login_required
async def members_async(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"hello {await request.auser()}")


class Members(LoginRequiredMixin, View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(f"hello {request.user}")


@user_passes_test(lambda user: user.groups.filter(name="editors").exists())
def editors(request: HttpRequest) -> HttpResponse:
    return HttpResponse("edit")


@permission_required("a.b", raise_exception=True)
def permitted(request: HttpRequest) -> HttpResponse:
    return HttpResponse("permitted")


@permission_required("a.b", raise_exception=True)
async def permitted_async(request: HttpRequest) -> HttpResponse:
    return HttpResponse("permitted")


urlpatterns = [
    path("who/", who),
    path("who-async/", who_async),
    path("does-not-look/", does_not_look),
    path("shows/", shows),
    path("shows-async/", shows_async),
    path("changes/", changes),
    path("members/", members),
    path("members-async/", members_async),
    path("members-class/", Members.as_view()),
    path("editors/", editors),
    path("permitted/", permitted),
    path("permitted-async/", permitted_async),
    *site,
]
pytestmark = pytest.mark.urls(__name__)
MEMBERS = ["/members/", "/members-async/", "/members-class/"]


def test_is_what_the_api_says_with_djangos_attributes(signed_in: Browser) -> None:
    session = signed_in.session()

    with CaptureQueriesContext(connection) as queries:
        user = signed_in.get("/who/").json()

    assert len(queries) == 0
    assert user == {
        "is_authenticated": True,
        "is_anonymous": False,
        "is_active": True,
        "is_staff": False,
        "is_superuser": False,
        "username": ADA,
        "pk": f"api:{session.user.id}",
        "id": session.user.id,
        "str": ADA,
        "get_username": ADA,
        "class": "ApiUser",
        "email": session.user.email,
        "groups": [],
        "perms": [False, False, False],
        "user_permissions": 0,
        "can_save": False,
    }
    assert signed_in.get("/who-async/").content.decode() == ADA
    assert signed_in.get("/shows/").content.decode() == f"[{ADA}|in]"


def test_an_async_view_renders_it_also_when_the_record_has_to_be_read(signed_in: Browser, api: DemoApi) -> None:
    api.expire_access_tokens()
    signed_in.open_page()

    assert not signed_in.session().confirmed
    assert signed_in.get("/shows-async/").content.decode() == f"[{ADA}|in]"
    assert signed_in.session().confirmed


def test_a_request_that_a_middleware_refused_early_has_none() -> None:
    assert SHOWN.render({}, RequestFactory().get("/")) == "[AnonymousUser|out]"


def test_is_anonymous_without_a_session(browser: Browser) -> None:
    response = browser.get("/who/")

    assert response.json()["class"] == "AnonymousUser"
    assert "Cookie" in response["Vary"]
    assert browser.get("/who-async/").content.decode() == "AnonymousUser"
    assert browser.get("/shows/").content.decode() == "[AnonymousUser|out]"


def test_a_page_that_does_not_look_is_for_everybody(signed_in: Browser) -> None:
    response = signed_in.get("/does-not-look/")

    assert not response.has_header("Vary")
    assert not response.has_header("Cache-Control")


def test_follows_a_sign_out_and_a_sign_in_of_the_same_request(signed_in: Browser) -> None:
    assert signed_in.get("/changes/").json() == [ADA, "AnonymousUser", GRACE]


class TestDjangosDecorators:
    @pytest.mark.parametrize("page", MEMBERS)
    def test_show_the_page_to_somebody_who_is_signed_in(self, signed_in: Browser, page: str) -> None:
        assert signed_in.get(page).content.decode() == f"hello {ADA}"

    @pytest.mark.parametrize("page", MEMBERS)
    @pytest.mark.parametrize("over", ["never signed in", "ended and expired", "record gone and expired", "ended"])
    def test_lead_to_the_sign_in_page_and_back_when_the_session_is_over(
        self, browser: Browser, settings: Settings, page: str, over: str
    ) -> None:
        if over != "never signed in":
            browser.sign_in()
            session = browser.session()
            if "ended" in over:
                end_session(session.id, EndReason.REVOKED)
            else:
                SessionRecord.objects.all().delete()
            if "expired" in over:
                browser.age(3600)
            else:
                settings.API_SESSION_CHECK = "every-request"

        response = browser.get(page)

        assert response.status_code == 302
        assert ("ended=1" in response["Location"]) == (over != "never signed in")
        form = browser.get(response["Location"])
        next_field = re.search(r'name="next" value="([^"]*)"', form.text)
        assert form.status_code == 200
        assert next_field
        back = browser.sign_in(next=next_field[1])
        assert back["Location"] == page
        assert browser.get(page).content.decode() == f"hello {ADA}"

    def test_tell_a_script_with_a_401(self, browser: Browser) -> None:
        script = browser.get("/members/", headers={"Accept": "application/json"})
        htmx = browser.get("/members-class/", headers={"HX-Request": "true", "HX-Current-URL": "/orders/"})

        assert (script.status_code, htmx.status_code) == (401, 401)
        assert script.json() == {"detail": "You are not signed in.", "login": "/accounts/login/?next=%2F"}
        assert htmx["HX-Redirect"] == "/accounts/login/?next=%2Forders%2F"

    def test_lead_somebody_whom_they_refuse_to_another_account(self, signed_in: Browser) -> None:
        assert signed_in.get("/editors/")["Location"] == "/accounts/login/?switch=1&next=%2Feditors%2F"
        assert signed_in.get("/permitted/").status_code == 403
        assert signed_in.get("/permitted-async/").status_code == 403


def test_django_s_middleware_that_demands_a_sign_in_everywhere_leaves_the_way_in_open(
    browser: Browser, settings: Settings
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    with_json = {"headers": {"Accept": "application/json"}}

    assert browser.get("/does-not-look/")["Location"] == "/accounts/login/?next=/does-not-look/"
    assert browser.get("/protected/events/", headers={"Accept": "text/event-stream"}).status_code == 401
    assert browser.get("/protected/api/protected-route", **with_json).json()["detail"] == "You are not signed in."
    assert browser.get("/accounts/session/").json()["authenticated"] is False
    assert browser.post("/accounts/session/update/", {}).status_code == 400
    assert browser.get("/accounts/callback/").status_code == 404  # this dialect has none
    assert browser.get("/accounts/logout/provider/").status_code == 404
    assert browser.get("/accounts/doctor/").status_code == 404  # without a ticket
    assert browser.get("/health/live").status_code == browser.get("/health/ready").status_code == 200
    assert browser.get("/admin/")["Location"].startswith("/admin/login/")
    assert browser.get("/admin/login/").status_code == 200
    assert browser.get("/accounts/login/").status_code == 200
    assert browser.sign_in()["Location"] == "/protected/"
    assert browser.get("/does-not-look/").status_code == browser.open_page().status_code == 200
    assert browser.sign_out()["Location"] == "/"
    assert browser.sign_out().status_code == 302
    assert browser.get("/")["Location"] == "/accounts/login/?next=/"


def test_in_the_admin_it_is_djangos_user(signed_in: Browser) -> None:
    assert str(signed_in.get("/admin/")["Location"]).startswith("/admin/login/")
    signed_in.client.force_login(StaffUser.objects.create_superuser("root", password="root"))

    assert "<strong>root</strong>" in signed_in.get("/admin/").text
    assert signed_in.get("/who/").json()["username"] == ADA
    assert json.loads(signed_in.get("/changes/").content)[2] == GRACE
    assert signed_in.get("/admin/").status_code == 200


class TestDatabaseAway:
    """With a check of each request, nobody is known to be signed in while the database is unavailable."""

    def test_views_refuse_and_pages_show_the_cookies_user(
        self, signed_in: Browser, settings: Settings, api: DemoApi
    ) -> None:
        settings.API_SESSION_CHECK = "every-request"

        with records_away():
            responses = [signed_in.get(page) for page in MEMBERS]
            shown, missing, home = signed_in.get("/shows/"), signed_in.get("/no-such-page/"), signed_in.get("/")

        assert [response.status_code for response in responses] == [503, 503, 503]
        assert all(ADA in response.content.decode() for response in responses)
        assert not any(cookies_set(response) for response in responses)
        assert shown.content.decode() == f"[{ADA}|in]"
        assert missing.status_code == 404
        assert home.status_code == 200
        assert signed_in.get("/members/").status_code == 200


class TestIsNeverTakenForAStaffUser:
    """Its id is often the primary key of somebody in Django's own table."""

    def test_by_equality(self) -> None:
        ada, staff = ApiUser(id=1, name="root"), StaffUser(pk=1, username="root")

        assert ada != staff
        assert staff != ada
        assert len({ada, staff}) == 2
        assert ada not in [staff]

    @pytest.mark.django_db
    def test_by_a_query_or_a_foreign_key(self) -> None:
        staff = StaffUser.objects.create_user("root", pk=1)
        ada: Any = SimpleLazyObject(lambda: ApiUser(id=1, name="Ada"))
        wrong: list[Callable[[], object]] = [
            lambda: StaffUser.objects.get(pk=ada.pk),
            lambda: StaffUser.objects.get(pk=ada),
            lambda: list(StaffUser.objects.filter(pk__in=[ada.pk])),
            lambda: LogEntry(user=ada),
            lambda: list(LogEntry.objects.filter(user=ada)),
            lambda: LogEntry.objects.create(user_id=ada.pk, action_flag=CHANGE),
            lambda: LogEntry.objects.log_actions(ada.pk, [staff], CHANGE, "changed"),
        ]

        for look_up in wrong:
            with pytest.raises((TypeError, ValueError)), transaction.atomic():
                look_up()

        assert LogEntry.objects.count() == 0
        assert ada.pk
        assert ApiUser(id="", name="Ada").pk == ""


def test_other_code_may_keep_something_at_it_but_not_change_what_the_api_said() -> None:
    deep = json.loads("[" * 400 + "]" * 400)
    said = {"access": {"roles": ["reader"], "deep": deep}}
    ada: Any = SimpleLazyObject(lambda: ApiUser(id=1, name="Ada", claims_by_source=said))

    ada.otp_device = "phone"
    ada.claims["roles"].append("admin")
    with pytest.raises(AttributeError):
        ada.name = "Grace"

    assert ada.otp_device == "phone"
    assert ada.claims == {"roles": ["reader"], "deep": deep}
    assert ada.get_full_name() == ada.get_short_name() == "Ada"
    assert ada.get_user_permissions() == ada.get_group_permissions() == ada.get_all_permissions() == set()


def test_users_are_the_same_if_they_have_the_same_id() -> None:
    ada = ApiUser(id=7, name="Ada")
    nameless = ApiUser(id="", name="Ada")

    assert ada == ApiUser(id=7, name="Ada Lovelace")
    assert len({ada, ApiUser(id=7, name="Ada Lovelace"), nameless}) == 2
    assert ada not in (ApiUser(id="7", name="Ada"), nameless, 7)
    assert nameless == nameless
    assert nameless != ApiUser(id="", name="Ada")
