"""A site over HTTPS, and a Chromium that binds sessions to the device: one of each for the tests of a file."""

import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.conftest import PATIENCE_MS, PATIENCE_SECONDS, sign_in
from tests.browser.device.bound_chromium import DeviceEvents, run_bound_chromium
from tests.browser.device.tls_front import Certificates, TlsFront, make_certificates
from tests.demo_api.server import DemoApi
from tests.load.processes import wait_until
from tests.load.site import Site

MISSING = "No certutil, so no tests of device binding; to install it: apt-get install libnss3-tools"
HOST, SIBLING = "www.example.com", "help.example.com"
#: Short, so that a test can wait for its end. In the browser alone, and of access tokens, `let_expire` ends all.
PROOF_SECONDS = 6
SESSION, DEVICE = "__Host-session", "__Host-session-device-"
REGISTER, REFRESH = "/accounts/device/register/", "/accounts/device/refresh/"
ENVIRONMENT = {
    "ALLOWED_HOSTS": f"127.0.0.1,{HOST},{SIBLING}",
    "API_SESSION_COOKIE_SECURE": "true",
    "API_SESSION_COOKIE_NAME": SESSION,
    "API_SESSION_DEVICE_PROOF_SECONDS": str(PROOF_SECONDS),
    "TRUSTED_PROXY_COUNT": "1",
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("certutil") is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    return make_certificates(tmp_path_factory.mktemp("certificates"), HOST, SIBLING)


@pytest.fixture(scope="module")
def api() -> Iterator[DemoApi]:
    with DemoApi(access_ttl=60) as api:
        yield api


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site") / "db.sqlite3"


@pytest.fixture(scope="module")
def host(chromium: Browser, certificates: Certificates, api: DemoApi, database: Path) -> Iterator[Site]:
    """One host of the site. After the browser, so that without one nothing is started."""
    site = Site(database_url=f"sqlite:///{database}", api_url=api.url, workers=2, threads=8, environment=ENVIRONMENT)
    site.migrate()
    with site:
        yield site


@pytest.fixture(scope="module")
def running_front(host: Site, certificates: Certificates) -> Iterator[TlsFront]:
    with TlsFront([host.port], certificates.site) as front:
        yield front


@pytest.fixture
def front(running_front: TlsFront, host: Site) -> Iterator[TlsFront]:
    """HTTPS in front of the host, well and with an empty list of calls."""
    running_front.forget_calls()
    yield running_front
    running_front.heal()
    running_front.ports = [host.port]


@pytest.fixture(scope="module")
def bound_chromium(
    chromium: Browser,
    running_front: TlsFront,
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Browser]:
    home = tmp_path_factory.mktemp("home")
    with run_bound_chromium(
        chromium, home, certificates.authority, dict.fromkeys((HOST, SIBLING), running_front.port)
    ) as browser:
        yield browser


@pytest.fixture
def person(bound_chromium: Browser, front: TlsFront) -> Iterator[BrowserContext]:
    """A browser that has never been here."""
    with bound_chromium.new_context(base_url=f"https://{HOST}") as context:
        context.set_default_timeout(PATIENCE_MS)
        yield context


@pytest.fixture
def page(person: BrowserContext) -> Page:
    """Its first tab."""
    return person.new_page()


@pytest.fixture
def events(person: BrowserContext, page: Page) -> DeviceEvents:
    """What the tab is told of bound sessions."""
    return DeviceEvents(person, page)


@pytest.fixture
def bound(person: BrowserContext, page: Page, front: TlsFront) -> Page:
    """A tab in which Ada has signed in. Her session is bound, and the record has the key."""
    sign_in(page)
    wait_until(lambda: bool(device_cookies(cookies(person, page))), "the browser has registered")
    page.goto("/protected/")
    return page


def cookies(person: BrowserContext, page: Page) -> dict[str, str]:
    """The cookies of now. Playwright takes the browser's events only while it is called."""
    page.evaluate("0")
    return {str(cookie["name"]): str(cookie["value"]) for cookie in person.cookies()}


def device_cookies(cookies: Mapping[str, str]) -> set[str]:
    """The names of those that prove the device."""
    return {name for name in cookies if name.startswith(DEVICE)}


def let_expire(person: BrowserContext, api: DemoApi) -> None:
    """The device cookie has expired in the browser, and the access token at the API."""
    person.clear_cookies(name=re.compile(f"^{DEVICE}"))
    api.expire_access_tokens()


def without_proof(cookies: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in cookies.items() if not name.startswith(DEVICE)}


@pytest.fixture
def ask(certificates: Certificates, front: TlsFront) -> Callable[..., requests.Response]:
    """Another client somewhere else, with copied cookies: `ask(path, cookies, as_script=False, method="GET")`."""

    def ask(
        path: str, cookies: dict[str, str], *, as_script: bool = False, method: str = "GET", **options: Any
    ) -> requests.Response:
        return requests.request(
            method,
            f"https://127.0.0.1:{front.port}{path}",
            cookies=cookies,
            headers={"Accept": "application/json" if as_script else "text/html"},
            verify=str(certificates.authority),
            allow_redirects=False,
            timeout=PATIENCE_SECONDS,
            **options,
        )

    return ask


@pytest.fixture
def query(database: Path) -> Callable[[str], list[tuple[Any, ...]]]:
    """Asks the site's database. Django's own connections do not work beside Playwright."""

    def query(statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(database, timeout=20)) as connection:
            return connection.execute(statement).fetchall()

    return query
