"""A session bound to the device of its browser: registration, proofs, and what a copy of the cookies can do."""

import pytest
from django.test import override_settings
from pytest_django.asserts import assertNumQueries

from tests.accounts.device.conftest import signed_in_over_https
from tests.browsers import ADA, Browser, cookies_set
from tests.demo_api.server import DemoApi
from tests.demo_api.users import DEMO_USERS
from tests.device_browser import Device, DeviceBrowser

CROSS_SITE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
NAVIGATION = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"}
FORM = {"username": ADA, "password": DEMO_USERS[ADA]}
JSON = {"headers": {"Accept": "application/json"}}


def copy_without_proof(browser: DeviceBrowser) -> Browser:
    """A thief with the session cookie alone."""
    return Browser({name: value for name, value in browser.take().items() if "-device-" not in name})


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_a_sign_in_binds_the_session(site: DemoApi, algorithm: str) -> None:
    browser = DeviceBrowser(device=Device(algorithm))
    response = browser.sign_in()

    assert response["Secure-Session-Registration"].startswith('(ES256 RS256);path="/accounts/device/register/"')
    assert browser.config is not None
    assert browser.config["session_identifier"] == f"{browser.session().id}.{browser.session().device}"
    assert browser.config["refresh_url"] == "/accounts/device/refresh/"
    assert browser.config["scope"]["include_site"] is False
    [credential] = browser.config["credentials"]
    assert credential["attributes"] == "Path=/; Secure; HttpOnly; SameSite=Lax"
    morsel = browser.client.cookies[credential["name"]]
    assert (morsel["path"], morsel["secure"], morsel["httponly"], morsel["samesite"]) == ("/", True, True, "Lax")
    assert (morsel["domain"], morsel["max-age"]) == ("", 510)
    assert not browser.record().device_key
    assert browser.open_page().status_code == 200
    assert browser.record().device_key.startswith(f"{algorithm}:")
    assert browser.session().confirmed
    with assertNumQueries(0):
        page = browser.open_page()
    assert page.status_code == 200
    assert not cookies_set(page)
    assert "Secure-Session-Registration" not in page.headers


def test_plain_http_and_a_switched_off_binding_offer_nothing(site: DemoApi) -> None:
    browser = Browser()
    assert "Secure-Session-Registration" not in browser.sign_in().headers
    with override_settings(API_SESSION_DEVICE_BINDING=False):
        assert "Secure-Session-Registration" not in DeviceBrowser().sign_in().headers
    with override_settings(API_SESSION_COOKIE_SECURE=False):
        assert "Secure-Session-Registration" not in DeviceBrowser().sign_in().headers


def test_a_copy_of_the_session_cookie_alone_is_not_served(bound: DeviceBrowser) -> None:
    thief = copy_without_proof(bound)

    with assertNumQueries(0):
        page = thief.open_page()
        script = thief.get("/protected/", **JSON)
        public = thief.get("/")
    assert page.status_code == 403
    assert b"Try again" in page.content
    assert b"Sign in again" in page.content
    assert b"Ada" not in page.content
    assert (script.status_code, script.json()["login"]) == (401, "/accounts/login/?next=%2F")
    assert public.status_code == 200
    assert b"Ada" not in public.content
    assert not any(cookies_set(response) for response in (page, script, public))
    session = thief.get("/accounts/session/").json()
    assert (session["authenticated"], session["is_bound_to_device"], session["user"]) == (False, True, None)
    assert thief.get("/accounts/login/").status_code == 200
    assert bound.open_page().status_code == 200


def test_a_copy_of_all_cookies_is_served_until_the_proof_expires(bound: DeviceBrowser) -> None:
    thief = Browser(bound.take())
    assert thief.open_page().status_code == 200

    with override_settings(API_SESSION_DEVICE_PROOF_SECONDS=-1):
        bound.expire_device_cookie()
        bound.refresh()
    expired = Browser(bound.take())
    assert expired.open_page().status_code == 403
    assert expired.sign_out().status_code == 302
    assert bound.record().end_reason == "signed-out"


def test_the_browser_gets_a_new_proof_without_database_and_api(bound: DeviceBrowser, site: DemoApi) -> None:
    for _ in range(3):
        bound.expire_device_cookie()
        with assertNumQueries(0):
            response = bound.refresh()
        assert response.status_code == 200
        assert list(response.cookies) == [response.json()["credentials"][0]["name"]]
        site.expire_access_tokens()
        assert bound.open_page().status_code == 200
        assert bound.open_page().status_code == 200
    assert bound.session().generation == 3
    assert bound.session().device


def test_a_sign_out_ends_the_binding(bound: DeviceBrowser) -> None:
    response = bound.sign_out()

    assert bound.device_cookie() == ""
    assert response.status_code == 302
    assert bound.refresh().json()["continue"] is False
    assert bound.config is None


def test_signing_in_again_makes_a_new_binding(bound: DeviceBrowser) -> None:
    old_config = bound.config
    assert old_config is not None
    old = bound.session()
    bound.sign_in()
    assert bound.session().id != old.id
    assert bound.config != old_config
    assert bound.open_page().status_code == 200
    assert bound.record().device_key

    new_config, bound.config = bound.config, old_config
    assert bound.refresh().json() == {"session_identifier": old_config["session_identifier"], "continue": False}
    bound.config = new_config
    bound.expire_device_cookie()
    assert bound.open_page().status_code == 200


def test_a_browser_without_the_feature_notices_nothing(site: DemoApi) -> None:
    browser = signed_in_over_https(registers=False)
    for _ in range(2):
        site.expire_access_tokens()
        assert "Secure-Session-Registration" in browser.open_page().headers
        assert "Secure-Session-Registration" not in browser.open_page().headers
    assert browser.session().device == ""


def test_after_a_sign_in_by_way_of_another_site_the_next_page_asks(site: DemoApi) -> None:
    browser = DeviceBrowser()
    response = browser.client.post("/accounts/login/", FORM, secure=True, headers=CROSS_SITE)
    assert response.status_code == 302
    assert "Secure-Session-Registration" not in response.headers
    followed = browser.get("/protected/", headers=CROSS_SITE)
    assert "Secure-Session-Registration" not in followed.headers

    # A page may have several scripts, and a browser makes a key for each response that asks.
    script = browser.get("/accounts/session/", headers={"Sec-Fetch-Mode": "cors"})
    assert "Secure-Session-Registration" not in script.headers
    page = browser.get("/", headers=NAVIGATION)
    assert "Secure-Session-Registration" in page.headers
    assert browser.device_cookie()
    assert page.cookies["__Host-session-device-offer"]["max-age"] == 0
    assert "Secure-Session-Registration" not in browser.get("/", headers=NAVIGATION).headers
    assert browser.is_signed_in()
    assert browser.record().device_key
