"""Requests without the proof of their session's device: what each kind of client gets, and what staff see."""

from urllib.parse import quote

import pytest
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path
from django.utils import timezone
from django.views.decorators.cache import cache_control
from pytest_django import Settings

from accounts.exceptions import DeviceUnproven
from accounts.form_errors import add_api_errors
from accounts.fresh_sign_in import require_fresh_sign_in
from accounts.history.background_writer import BackgroundWriter
from accounts.models import EventKind, SessionEvent
from accounts.sign_in.forms import SignInForm
from config.urls import urlpatterns as site_addresses
from tests.accounts.session_updates import assert_refused, post, session_update
from tests.browsers import PATIENCE_SECONDS, Browser, cookies_set
from tests.config.test_metrics import TOKEN, Meter
from tests.demo_api.server import DemoApi
from tests.device_browser import DeviceBrowser


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello")


def declined(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.user} has declined", status=403)


def whose(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"of {request.user}")


urlpatterns = [
    path("personal/", login_required(hello)),
    path("once/", declined),
    path("kept/", cache_control(max_age=60)(whose)),
    path("recent/", require_fresh_sign_in(max_age=300)(hello)),
    *site_addresses,
]
pytestmark = pytest.mark.urls(__name__)


@pytest.fixture
def thief(bound: DeviceBrowser) -> Browser:
    """The session cookie without the device cookie."""
    return Browser({name: value for name, value in bound.take().items() if "-device-" not in name})


def test_each_kind_of_client(thief: Browser, bound: DeviceBrowser, site: DemoApi) -> None:
    site.forget_calls()
    htmx = thief.get("/protected/", headers={"HX-Request": "true"})
    assert (htmx.status_code, htmx["HX-Refresh"]) == (401, "true")
    events = thief.get("/protected/events/", headers={"Accept": "text/event-stream"})
    assert events.status_code == 200
    assert b"".join(events).startswith(b"retry: ")
    proxy = thief.get("/protected/api/protected-route", headers={"Sec-Fetch-Mode": "cors"})
    assert (proxy.status_code, proxy.json()["login"]) == (401, "/accounts/login/?next=%2F")
    assert thief.get("/protected/stream/").status_code == 403
    assert thief.get("/accounts/sessions/").status_code == 403
    assert thief.get("/recent/").status_code == 403
    form = thief.post("/accounts/sessions/", {"end": "others"}, headers={"Referer": "http://testserver/accounts/"})
    assert form.status_code == 403
    assert 'href="/accounts/"' in form.text
    personal = thief.get("/personal/")
    assert (personal.status_code, personal["Cache-Control"]) == (403, "private, no-store")
    assert thief.get("/personal/", headers={"Accept": "application/json"}).status_code == 401
    assert not site.calls
    assert not cookies_set(personal)
    assert bound.is_signed_in()


@pytest.mark.parametrize("elsewhere", ["cross-site", "same-site"])
def test_a_link_on_another_site_leads_to_a_second_request(thief: Browser, bound: DeviceBrowser, elsewhere: str) -> None:
    cross_site = {"Sec-Fetch-Site": elsewhere}
    for address, status in (("/protected/", 403), ("/", 200), ("/kept/", 200)):
        page = thief.get(address, headers=cross_site)
        assert (page.status_code, page["Refresh"]) == (status, "0")
        assert b"could not prove" not in page.content
        assert page["Cache-Control"] == "private, no-store"
        assert "Refresh" not in thief.get(address, headers={"Sec-Fetch-Site": "same-origin"}).headers
    assert "Refresh" not in bound.get("/protected/", headers=cross_site).headers
    form = thief.post("/accounts/sessions/", {"end": "others"}, headers=cross_site)
    assert form.status_code == 403
    assert "Refresh" not in form.headers
    assert b"Go back to the page" in form.content
    # Loaded again, this page could not say the same, or would do the same once more.
    assert "Refresh" not in thief.get("/once/", headers=cross_site).headers


def test_headers_that_only_browsers_send_let_nobody_in(thief: Browser) -> None:
    headers = {"Secure-Session-Skipped": 'quota_exceeded;session_identifier="x"'}
    assert thief.get("/protected/", headers=headers).status_code == 403


def test_a_session_update_needs_the_proof_too(bound: DeviceBrowser, site: DemoApi) -> None:
    update = session_update(bound, site)
    thief = Browser({name: value for name, value in bound.take().items() if "-device-" not in name})
    assert_refused(post(thief, update))
    assert post(bound, update).status_code == 204


def test_the_device_cookie_of_another_session_proves_nothing(thief: Browser, bound: DeviceBrowser) -> None:
    other = DeviceBrowser()
    other.sign_in()
    assert bound.config is not None
    thief.put(thief.take() | {bound.config["credentials"][0]["name"]: other.device_cookie()})
    assert thief.open_page().status_code == 403


def test_switched_off_no_request_needs_a_proof(thief: Browser, bound: DeviceBrowser, site: DemoApi) -> None:
    with override_settings(API_SESSION_DEVICE_BINDING=False):
        assert thief.open_page().status_code == 200
        bound.expire_device_cookie()
        site.expire_access_tokens()
        assert bound.is_signed_in()
    assert bound.session().device
    assert thief.open_page().status_code == 403
    assert bound.is_signed_in()


def test_keys_that_rotate_and_a_host_without_the_new_one(bound: DeviceBrowser, settings: Settings) -> None:
    old, new = "old-key-" + "0" * 32, "new-key-" + "1" * 32
    settings.API_SESSION_KEYS = [new, settings.SECRET_KEY, old]
    bound.expire_device_cookie()
    assert bound.refresh().status_code == 200
    assert bound.is_signed_in()
    bound.client.cookies["__Host-session"] = bound.session().seal_for_cookie()
    settings.API_SESSION_KEYS = [old]
    bound.expire_device_cookie()

    response = bound.refresh()
    assert (response.status_code, response["Retry-After"]) == (503, "1")
    assert bound.config is not None

    settings.API_SESSION_KEYS = [new, old]
    assert bound.refresh().status_code == 200
    assert bound.is_signed_in()


def test_one_event_an_hour_and_a_count_of_each(
    site: DemoApi, settings: Settings, event_writer: BackgroundWriter[SessionEvent]
) -> None:
    settings.METRICS_TOKEN = TOKEN
    meter = Meter()
    browser = DeviceBrowser()
    browser.sign_in()
    browser.open_page()
    thief = Browser({"__Host-session": browser.take()["__Host-session"]})
    for _ in range(3):
        assert thief.open_page().status_code == 403

    assert event_writer.finish(PATIENCE_SECONDS)
    events = SessionEvent.objects.filter(session_id=browser.session().id).order_by("pk")
    assert [event.kind for event in events] == ["signed-in", "bound", "unproven"]
    assert meter.counted("api_session_devices_total", "bound") == 1
    assert meter.counted("api_session_devices_total", "proven") == 1
    assert meter.counted("api_session_devices_total", "unproven") == 3
    assert meter.counted("api_session_ended_total", EventKind.UNPROVEN) == 0


def test_who_sees_that_a_session_is_bound(bound: DeviceBrowser, admin_client: Browser) -> None:
    admin_client.defaults["wsgi.url_scheme"] = "https"  # type: ignore[attr-defined]
    record = bound.record()
    listed = admin_client.get("/admin/accounts/sessionrecord/")
    assert "bound to a device" in listed.content.decode()
    detail = admin_client.get(f"/admin/accounts/sessionrecord/{record.pk}/change/").content.decode()
    assert "bound to a device (ES256)" in detail
    assert record.device_key not in detail
    assert record.device_bound_at is not None
    assert record.device_bound_at <= timezone.now()
    assert "bound to its device" in bound.get("/accounts/sessions/").text
    assert "Bound to this device" in bound.open_page().text
    assert bound.get("/accounts/session/").json()["is_bound_to_device"] is True


def test_the_way_back_after_the_sign_in(thief: Browser) -> None:
    page = thief.get("/protected/?page=2")
    assert f'href="/accounts/login/?next={quote("/protected/?page=2", safe="")}"' in page.text
    assert 'href="">Try again' in page.text


def test_a_form_keeps_what_was_typed() -> None:
    form = SignInForm({"username": "ada", "password": "x"})
    assert form.is_valid()
    assert add_api_errors(form, DeviceUnproven()) == 401
    assert "could not prove that the session is its own" in str(form.non_field_errors())
    assert "/accounts/login/" in str(form.non_field_errors())
