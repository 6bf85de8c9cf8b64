"""Lost responses, restarts, new keys and several hosts: a browser with a bound session is never signed out."""

import time
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import expect_data, sign_in
from tests.browser.device.conftest import (
    ENVIRONMENT,
    REFRESH,
    REGISTER,
    cookies,
    device_cookies,
    let_expire,
)
from tests.browser.device.tls_front import TlsFront
from tests.demo_api.server import DemoApi, Fault
from tests.load.hosts import NEW_KEYS
from tests.load.processes import wait_until
from tests.load.site import LEEWAY_SECONDS, Site

pytestmark = pytest.mark.browser

PAUSE_SECONDS = 0.3


def reload_until_served(page: Page) -> None:
    """As a person does who is asked to try again. Nothing on the way signs her out."""

    def is_served() -> bool:
        page.goto("/protected/")
        assert "/accounts/login/" not in page.url, "signed out"
        if page.get_by_role("heading", name="Protected page").count():
            return True
        page.wait_for_timeout(PAUSE_SECONDS * 1000)
        return False

    wait_until(is_served, "the page is served again")
    expect_data(page)


def test_lost_responses(page: Page, person: BrowserContext, front: TlsFront, api: DemoApi) -> None:
    front.fail("POST", REGISTER, Fault.lose_answer(), times=None)
    sign_in(page)
    wait_until(lambda: front.count(REGISTER) > 0, "the browser registers")
    page.goto("/protected/")
    expect_data(page)
    assert not device_cookies(cookies(person, page))
    front.heal()
    front.forget_calls()
    time.sleep(LEEWAY_SECONDS)  # a second key within the grace period would be refused
    api.expire_access_tokens()
    # The site asks once more when the token pair was rotated.
    page.goto("/protected/")
    wait_until(lambda: bool(device_cookies(cookies(person, page))), "the browser has registered")

    # The confirmation.
    front.fail("GET", "/accounts/session/", Fault.lose_answer(), times=2)
    page.evaluate("fetch('/accounts/session/').catch(() => 0)")
    for refreshes in (1, 4):
        let_expire(person, api)
        front.fail("POST", REFRESH, Fault.lose_answer(), times=refreshes)
        reload_until_served(page)
    let_expire(person, api)
    reload_until_served(page)
    assert front.count(REGISTER) == 1


def test_a_refresh_path_that_fails_for_long(bound: Page, person: BrowserContext, front: TlsFront, api: DemoApi) -> None:
    let_expire(person, api)
    for fault in (Fault.answer(503), Fault.answer(502, b"<h1>Bad gateway</h1>", "text/html"), Fault.reset()):
        front.heal()
        front.fail("POST", REFRESH, fault, times=None)
        for _ in range(2):
            bound.goto("/protected/")
            expect(bound.get_by_role("link", name="Try again")).to_be_visible()
    front.heal()

    reload_until_served(bound)
    let_expire(person, api)
    reload_until_served(bound)
    assert front.count(REGISTER) == 1, "it is the same key"


def test_a_restart_with_new_keys_and_two_hosts(
    bound: Page, person: BrowserContext, front: TlsFront, host: Site, api: DemoApi, database: Path
) -> None:
    let_expire(person, api)
    host.stop()
    bound.goto("/protected/")
    expect(bound.get_by_text("Bad gateway")).to_be_visible()
    host.start()
    reload_until_served(bound)

    with another_host(api, database, NEW_KEYS) as other:
        # First the new host alone writes cookies, then the requests go to both in turn.
        front.ports = [other.port]
        let_expire(person, api)
        reload_until_served(bound)
        front.ports = [host.port, other.port]
        let_expire(person, api)
        for _ in range(4):
            bound.goto("/accounts/session/")
        host.restart(NEW_KEYS)
        let_expire(person, api)
        for _ in range(4):
            bound.goto("/protected/")
            expect_data(bound)
    assert {call.status for call in front.calls if call.path == REFRESH} <= {200, 403, 502, 503}
    assert front.count(REGISTER) == 1, "it is the same key"


def another_host(api: DemoApi, database: Path, environment: dict[str, str]) -> Site:
    return Site(
        database_url=f"sqlite:///{database}",
        api_url=api.url,
        workers=1,
        threads=8,
        environment={**ENVIRONMENT, **environment},
    )
