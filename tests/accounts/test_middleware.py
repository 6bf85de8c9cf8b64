"""The middleware: when a response writes the session cookie, and how many queries a page needs."""

from contextlib import suppress

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test.utils import CaptureQueriesContext
from django.urls import path
from django.views.decorators.cache import cache_control
from pytest_django import Settings

from accounts.api_client import ApiRequest
from accounts.exceptions import ApiMisbehaved, ApiUnavailable, NotSignedIn
from accounts.models import EndReason, SessionRecord
from config.urls import urlpatterns as site
from tests.browsers import Browser, cookies_set, let_a_minute_pass_in_records, records_away
from tests.demo_api.server import DemoApi, Fault

SECRET = "/protected-route"


@cache_control(public=True, max_age=3600)
def public(request: ApiRequest) -> HttpResponse:
    """A view whose page shared caches may store."""
    return HttpResponse(request.api.get(SECRET).content)


def forbidden(request: ApiRequest) -> HttpResponse:
    request.api.get(SECRET)
    raise PermissionDenied


def missing(request: ApiRequest) -> HttpResponse:
    request.api.get(SECRET)
    raise Http404


def crash(request: ApiRequest) -> HttpResponse:
    request.api.get(SECRET)
    raise RuntimeError("the pier has gone")


def own_500(request: ApiRequest) -> HttpResponse:
    request.api.get(SECRET)
    return HttpResponse("out of ink", status=500)


def second_call_fails(request: ApiRequest) -> HttpResponse:
    request.api.get(SECRET)
    return HttpResponse(request.api.get("/protected-route/rows/1").content)


def late_template(request: ApiRequest) -> TemplateResponse:
    """The API is called only while the page is rendered, after the view has returned."""
    template = engines["django"].from_string("{{ answer.status_code }}")
    return TemplateResponse(request, template, {"answer": lambda: request.api.get(SECRET)})


def file(request: ApiRequest) -> HttpResponseBase:
    request.api.get(SECRET)
    return StreamingHttpResponse(iter([b"one,", b"two"]), content_type="text/csv")


def anything(request: ApiRequest, rest: str) -> HttpResponse:
    return HttpResponse(request.api.get(SECRET).content)


def own_vary(request: ApiRequest) -> HttpResponse:
    request.api.get(SECRET)
    return HttpResponse("hello", headers={"Vary": "Accept-Language"})


def look_twice(request: ApiRequest) -> HttpResponse:
    """A view that ignores an error, and then requires the session again."""
    with suppress(ApiUnavailable):
        request.api_session.require()
    request.api_session.require()
    return HttpResponse("shown")


def works_without_api(request: ApiRequest) -> HttpResponse:
    """A view that works without the API."""
    try:
        request.api.get(SECRET)
    except (NotSignedIn, ApiUnavailable, ApiMisbehaved):
        return HttpResponse("without")
    return HttpResponse("with")


urlpatterns = [
    path("public/", public),
    path("403/", forbidden),
    path("404/", missing),
    path("500/", crash),
    path("own-500/", own_500),
    path("second-call/", second_call_fails),
    path("late-template/", late_template),
    path("file/", file),
    path("own-vary/", own_vary),
    path("anything/<str:rest>", anything),
    path("look-twice/", look_twice),
    path("works-without-api/", works_without_api),
    *site,
]
pytestmark = pytest.mark.urls(__name__)

# A page, and the status of its response after a rotation.
PAGES = {
    "a page": ("/protected/", 200),
    "a page for shared caches": ("/public/", 200),
    "a view that forbids": ("/403/", 403),
    "a view that finds nothing": ("/404/", 404),
    "a view that crashes": ("/500/", 500),
    "a 500 of the view's own": ("/own-500/", 500),
    "a page whose second call fails": ("/second-call/", 503),
    "a page that calls while it renders": ("/late-template/", 200),
    "a file": ("/file/", 200),
    "a page that varies by something else": ("/own-vary/", 200),
}


@pytest.fixture
def rotated(signed_in: Browser, api: DemoApi) -> Browser:
    """A browser with a rotated session, which it has not presented yet."""
    api.expire_access_tokens()
    assert signed_in.open_page().status_code == 200
    return signed_in


class TestRotatedSession:
    @pytest.mark.parametrize(("page", "status"), PAGES.values(), ids=PAGES)
    def test_is_written_with_every_response_and_into_no_cache(
        self, signed_in: Browser, api: DemoApi, page: str, status: int
    ) -> None:
        api.expire_access_tokens()
        api.fail("GET", "/protected-route/rows/1", Fault.answer(500))

        response = signed_in.get(page)

        assert response.status_code == status
        assert cookies_set(response)["session"]["httponly"] is True
        assert response["Cache-Control"] == "private, no-store"
        assert "Cookie" in response["Vary"].split(", ")
        assert signed_in.session().generation == 1
        api.forget_calls()
        assert signed_in.is_signed_in()
        assert api.count("POST", "/auth/refresh") == 0

    def test_is_written_confirmed_with_the_next_response_and_then_not_again(self, rotated: Browser) -> None:
        confirming = rotated.get("/404/")
        after = rotated.get("/404/")

        assert (confirming.status_code, after.status_code) == (404, 404)
        assert cookies_set(confirming)
        assert confirming["Cache-Control"] == "private, no-store"
        assert rotated.session().confirmed
        assert not cookies_set(after)

    def test_is_written_when_the_view_catches_the_error(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", SECRET, Fault.answer(401, {"message": "No."}))
        api.fail("GET", SECRET, Fault.answer(500))
        api.expire_access_tokens()

        response = signed_in.get("/works-without-api/")

        assert response.content == b"without"
        assert signed_in.session().generation == 1

    def test_keeps_the_vary_header_of_the_view(self, signed_in: Browser) -> None:
        assert signed_in.get("/own-vary/")["Vary"] == "Accept-Language, Cookie"


def test_a_path_cannot_forge_log_lines(signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture) -> None:
    api.fail("GET", SECRET, Fault.answer(500))

    assert signed_in.get("/anything/%0AERROR%20accounts%20all%20is%20lost%1B[2J").status_code == 503

    assert caplog.messages
    assert all(message.isprintable() for message in caplog.messages)


class TestGoodToken:
    def test_costs_no_query_and_writes_nothing(self, signed_in: Browser) -> None:
        with CaptureQueriesContext(connection) as queries:
            response = signed_in.open_page()

        assert response.status_code == 200
        assert len(queries) == 0
        assert not cookies_set(response)

    def test_makes_every_page_private(self, signed_in: Browser) -> None:
        response = signed_in.get("/public/")

        assert set(response["Cache-Control"].split(", ")) == {"private", "max-age=3600"}
        assert "Cookie" in response["Vary"]

    def test_a_single_rotation_costs_three_queries(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()

        with CaptureQueriesContext(connection) as queries:
            assert signed_in.open_page().status_code == 200

        assert len(queries) <= 3


ENDS = {
    "its user signed out": EndReason.SIGNED_OUT,
    "staff ended it": EndReason.REVOKED,
    "the API refused it": EndReason.REFUSED,
}


class TestCopyOfAnEndedSession:
    """On pages that do not call the API, only the record shows that the session is over."""

    @pytest.fixture
    def thief(self, signed_in: Browser) -> Browser:
        """A browser with a copy of the cookie, whose access token has expired."""
        thief = signed_in.copy()
        thief.age(365 * 24 * 3600)
        return thief

    @pytest.mark.parametrize("page", ["/protected/script/", "/look-twice/"])
    @pytest.mark.parametrize("reason", ENDS.values(), ids=ENDS)
    def test_opens_no_page_after_its_token_has_expired(self, thief: Browser, page: str, reason: EndReason) -> None:
        SessionRecord.objects.end(thief.session().id, reason)
        let_a_minute_pass_in_records()

        response = thief.get(page)

        assert (response.status_code, response["Location"].partition("?")[0]) == (302, "/accounts/login/")
        assert cookies_set(response)["session"].value == "", "the cookie is deleted"

    def test_is_not_reported_as_signed_in(self, signed_in: Browser, thief: Browser) -> None:
        signed_in.sign_out()

        assert thief.get("/accounts/session/").json()["authenticated"] is False

    def test_opens_no_page_without_a_record(self, thief: Browser) -> None:
        SessionRecord.objects.all().delete()

        assert thief.get("/protected/script/").status_code == 302

    def test_a_session_that_exists_opens_pages_with_one_query(self, signed_in: Browser) -> None:
        signed_in.age(120)

        with CaptureQueriesContext(connection) as queries:
            assert signed_in.get("/look-twice/").status_code == 200

        assert len(queries) == 1

    def test_an_unavailable_database_signs_nobody_out(self, signed_in: Browser) -> None:
        signed_in.age(120)

        with records_away():
            assert signed_in.get("/look-twice/").status_code == 200

    def test_a_rotation_on_the_page_costs_no_extra_query(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        signed_in.age(120)

        with CaptureQueriesContext(connection) as queries:
            assert signed_in.open_page().status_code == 200

        assert len(queries) <= 3


class TestPagesThatNeedNoSession:
    @pytest.mark.parametrize("page", ["/health/live", "/metrics", "/static/accounts/site.css"])
    @pytest.mark.parametrize(
        "holds", ["a good session", "an unconfirmed one", "an expired one", "one that has ended", "junk"]
    )
    def test_they_do_not_read_it(self, signed_in: Browser, api: DemoApi, page: str, holds: str) -> None:
        if holds == "an unconfirmed one":
            api.expire_access_tokens()
            signed_in.open_page()
        elif holds == "an expired one":
            signed_in.age(120)
        elif holds == "one that has ended":
            SessionRecord.objects.end(signed_in.session().id, EndReason.REVOKED)
        elif holds == "junk":
            signed_in.put({"session": "junk"})
        api.forget_calls()

        with CaptureQueriesContext(connection) as queries:
            response = signed_in.get(page)
            if response.streaming:
                list(response)
                response.close()

        assert response.status_code == (404 if page == "/metrics" else 200)
        assert "Cookie" not in response.get("Vary", "")
        assert not response.cookies
        assert len(queries) == 0
        assert not api.calls

    def test_the_admins_sign_in_page_does_not_read_it(self, rotated: Browser) -> None:
        with CaptureQueriesContext(connection) as queries:
            response = rotated.get("/admin/login/")

        assert response.status_code == 200
        assert not cookies_set(response)
        assert len(queries) == 0
        assert not rotated.session().confirmed

    def test_the_readiness_check_does_not_call_the_api(self, rotated: Browser, api: DemoApi) -> None:
        api.stop_serving()

        response = rotated.get("/health/ready")

        assert response.status_code == 200
        assert not cookies_set(response)
        assert "Cookie" not in response.get("Vary", "")


class TestUnavailableDatabase:
    def test_a_good_token_needs_no_database(self, signed_in: Browser) -> None:
        with records_away():
            assert signed_in.open_page().status_code == 200

    def test_an_unconfirmed_session_stays_unconfirmed(self, rotated: Browser) -> None:
        with records_away():
            response = rotated.open_page()

        assert response.status_code == 200
        assert not cookies_set(response)
        assert rotated.is_signed_in()
        assert rotated.session().confirmed

    def test_a_session_that_has_to_rotate_is_a_503(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()

        with records_away():
            response = signed_in.open_page()

        assert response.status_code == 503
        assert int(response["Retry-After"]) > 0
        assert not cookies_set(response)
        assert api.count("POST", "/auth/refresh") == 0
        assert signed_in.is_signed_in()


@pytest.fixture
def every_request(settings: Settings) -> None:
    settings.API_SESSION_CHECK = "every-request"


@pytest.mark.usefixtures("every_request")
class TestCheckOfEveryRequest:
    def test_an_end_has_effect_at_once(self, signed_in: Browser, api: DemoApi) -> None:
        SessionRecord.objects.end(signed_in.session().id, EndReason.REVOKED)
        let_a_minute_pass_in_records()
        api.forget_calls()

        response = signed_in.open_page()

        assert response.status_code == 302
        assert cookies_set(response)["session"].value == ""
        assert [call.path for call in api.calls] == ["/auth/logout"]

    def test_it_costs_one_query(self, signed_in: Browser) -> None:
        with CaptureQueriesContext(connection) as queries:
            assert signed_in.open_page().status_code == 200

        assert len(queries) == 1

    def test_it_costs_nothing_on_a_page_without_the_session(self, signed_in: Browser) -> None:
        with CaptureQueriesContext(connection) as queries:
            assert signed_in.get("/health/live").status_code == 200

        assert len(queries) == 0

    @pytest.mark.parametrize("page", ["/protected/", "/look-twice/", "/accounts/session/"])
    def test_without_the_database_a_page_is_a_503_and_the_session_stays(self, signed_in: Browser, page: str) -> None:
        with records_away():
            response = signed_in.get(page)

        assert response.status_code == 503
        assert not cookies_set(response)
        assert signed_in.get(page).status_code == 200

    def test_sign_in_over_a_session_works_once_the_database_is_back(self, signed_in: Browser) -> None:
        with records_away():
            assert signed_in.sign_in().status_code == 503

        assert signed_in.sign_in().status_code == 302
        assert signed_in.is_signed_in()
