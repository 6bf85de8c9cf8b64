"""A session that is bound to the device: the browser goes on as ever, and its cookies are of no use elsewhere."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import ADA, PATIENCE_MS, expect_data, fill_in, sign_in
from tests.browser.device.bound_chromium import DeviceEvents
from tests.browser.device.conftest import (
    DEVICE,
    HOST,
    PROOF_SECONDS,
    REFRESH,
    REGISTER,
    SESSION,
    SIBLING,
    cookies,
    device_cookies,
    let_expire,
    without_proof,
)
from tests.browser.device.tls_front import TlsFront
from tests.demo_api.server import DEMO_USERS, DemoApi, Fault, Gate
from tests.load.processes import wait_until
from tests.load.site import LEEWAY_SECONDS

pytestmark = pytest.mark.browser

Ask = Callable[..., requests.Response]
Query = Callable[[str], list[tuple[Any, ...]]]
SCRIPTS_CALL = "/protected/api/protected-route"
TABS = 8
#: Six calls at once; their statuses.
CALLS = """path => Promise.all(Array.from({length: 6}, () => fetch(path).then(response => response.status)))"""
MARGIN_SECONDS = 0.5
#: Of the last sign-ins.
STATE = "SELECT ended_at, end_reason FROM accounts_sessionrecord ORDER BY signed_in_at DESC LIMIT 2"


@pytest.fixture
def unbound(chromium: Browser, front: TlsFront) -> Iterator[Page]:
    """A tab of a Chromium without the switches, in which Ada has signed in."""
    address = f"https://127.0.0.1:{front.port}"
    with chromium.new_context(base_url=address, ignore_https_errors=True) as person:
        person.set_default_timeout(PATIENCE_MS)
        page = person.new_page()
        sign_in(page)
        yield page


def test_a_sign_in_is_bound_to_the_device(page: Page, events: DeviceEvents, person: BrowserContext) -> None:
    sign_in(page)
    wait_until(lambda: bool(device_cookies(cookies(person, page))), "the browser has registered")
    page.goto("/protected/")

    expect_data(page)
    assert events.kinds()[0] == "creation"
    (cookie,) = [cookie for cookie in person.cookies() if cookie["name"].startswith(DEVICE)]
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"]) == (True, True, "Lax", "/")
    assert 0 < cookie["expires"] - time.time() <= PROOF_SECONDS + 1
    assert DEVICE not in page.evaluate("document.cookie")
    expect(page.get_by_role("main")).to_contain_text("Bound to this device")
    page.goto("/accounts/sessions/")
    expect(page.get_by_role("row", name="this session")).to_contain_text("bound to its device")


def test_copied_cookies_are_of_no_use_soon_and_the_browser_goes_on(
    bound: Page, person: BrowserContext, unbound: Page, front: TlsFront, api: DemoApi, ask: Ask, query: Query
) -> None:
    """In the same time, a browser without device binding sees nothing of it."""
    registrations = front.count(REGISTER)
    bound.reload()
    stolen = cookies(person, bound)
    page, script = ask("/protected/", stolen), ask(SCRIPTS_CALL, stolen, as_script=True)
    assert (page.status_code, script.status_code) == (200, 200), "until the device cookie expires"
    assert ask("/protected/", without_proof(stolen)).status_code == 403, "the session cookie alone"

    tabs = [person.new_page() for _ in range(TABS)]
    api.expire_access_tokens()
    time.sleep(PROOF_SECONDS + MARGIN_SECONDS)
    for _ in range(3):
        for tab in (*tabs, unbound):
            tab.goto("/protected/", wait_until="commit")
        statuses = bound.evaluate(CALLS, SCRIPTS_CALL)
        for tab in (*tabs, unbound):
            expect_data(tab)
        assert statuses == [200] * 6
        refused, refused_script = ask("/protected/", stolen), ask(SCRIPTS_CALL, stolen, as_script=True)
        assert (refused.status_code, refused_script.status_code) == (403, 401)
        assert "Set-Cookie" not in refused.headers
        assert "Set-Cookie" not in refused_script.headers
        assert set(refused_script.json()) == {"detail", "login"}
        assert "Try again" in refused.text
        assert "Sign in again" in refused.text
        let_expire(person, api)

    assert api.reuses == 0
    assert front.count(REFRESH, 200) >= 3
    assert front.count(REGISTER) == registrations
    assert {*cookies(unbound.context, unbound)} == {SESSION, "__Host-csrftoken"}
    assert query(STATE) == [(None, "")] * 2
    # With newer cookies, it is the same.
    assert ask("/protected/", without_proof(cookies(person, bound))).status_code == 403


def test_streams_and_session_updates(bound: Page, person: BrowserContext, api: DemoApi) -> None:
    with bound.expect_response("**/accounts/session/update/") as update:
        bound.goto("/protected/stream/?rows=3&delay=1", wait_until="commit")
        expect(bound.locator("main li")).not_to_have_count(0)
        let_expire(person, api)

    assert update.value.status == 204
    expect(bound.get_by_text("That was all.")).to_be_visible()
    let_expire(person, api)
    assert bound.evaluate("fetch('/protected/events/?rows=2&delay=0').then(response => response.status)") == 200


def test_a_copy_of_before_the_registration_is_reuse(
    person: BrowserContext, page: Page, front: TlsFront, api: DemoApi, ask: Ask, query: Query
) -> None:
    with Gate() as gate:
        front.fail("POST", REGISTER, Fault.hold_before(gate))
        sign_in(page)
        assert gate.reached.wait(PATIENCE_MS / 1000)
        stolen = cookies(person, page)
        assert not device_cookies(stolen)
    wait_until(lambda: bool(device_cookies(cookies(person, page))), "the browser has registered")
    page.goto("/protected/")
    expect_data(page)
    assert ask("/protected/", stolen).status_code == 200, "it may have been under way"

    time.sleep(LEEWAY_SECONDS + MARGIN_SECONDS)
    api.expire_access_tokens()
    thiefs = ask("/protected/", stolen)

    assert thiefs.status_code == 302
    assert query(STATE)[0][1] == "reused"
    page.goto("/protected/")
    assert "/accounts/login/" in page.url


def test_signing_out_and_in_again_leaves_no_old_binding(
    bound: Page, person: BrowserContext, front: TlsFront, api: DemoApi
) -> None:
    """Chromium keeps the sessions of before: each asks for a refresh when the device cookie is missing."""
    for _ in range(2):
        bound.goto("/accounts/login/?switch=1")
        before = front.count(REGISTER, 200)
        fill_in(bound, ADA, DEMO_USERS[ADA])
        wait_until(lambda before=before: front.count(REGISTER, 200) > before, "it has registered")  # type: ignore[misc]
        let_expire(person, api)
        bound.goto("/protected/")
        expect_data(bound)
    bound.get_by_role("button", name="Sign out").click()
    let_expire(person, api)
    front.forget_calls()
    bound.goto("/")
    bound.goto("/accounts/login/")
    expect(bound.get_by_label("Email")).to_be_visible()
    assert {call.status for call in front.calls if call.path == REFRESH} <= {200, 403}
    assert {call.status for call in front.calls if call.path != REFRESH} <= {200, 302, 304}


def test_a_link_on_a_page_of_another_site(bound: Page, person: BrowserContext, front: TlsFront, api: DemoApi) -> None:
    """Chromium renews no device cookie for such a navigation. The page that comes instead loads itself again."""
    for elsewhere in (f"https://127.0.0.1:{front.port}/", "data:text/html,<p>Elsewhere", f"https://{SIBLING}/"):
        bound.goto(elsewhere)
        let_expire(person, api)
        bound.evaluate(f"() => {{ location.assign('https://{HOST}/protected/'); }}")

        expect_data(bound)
    assert front.count(REGISTER) == 1, "it is the same key"
