"""A real Chromium in front of the real site: what only a browser can show.

Playwright's event loop runs in the thread of the tests, where Django's database refuses to work meanwhile. So the site
is another process with a database of its own, and the browser lives no longer than the tests of this folder.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.demo_api.server import DEMO_USERS, DemoApi
from tests.environment import clean_environment
from tests.load.processes import free_port, stop_process, wait_until
from tests.migrated_database import put_migrated_database

PROJECT = Path(__file__).resolve().parents[2]
CHROMIUM = Path(__file__).with_name("plain_chromium.py")
FIREFOX = Path(__file__).with_name("firefox_esr.py")
PATIENCE_SECONDS = 60.0
PATIENCE_MS = PATIENCE_SECONDS * 1000

ADA = "ada@example.com"
STATION = "Old Harbour"  # a row of the API's data
FAILURES = 8  # that one user name may have here, over all tests

CHROMIUM_OPTIONS = [
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
]


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        yield playwright


def require(program: str) -> None:
    """The tests that need it are skipped where it is not installed, but not in CI."""
    if shutil.which(program) is None:
        missing = f"No {program}; to install it: apt-get install {program}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)


@pytest.fixture(scope="package")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """The system's Chromium, without a window."""
    require("chromium")
    with playwright.chromium.launch(
        executable_path=CHROMIUM,
        args=CHROMIUM_OPTIONS,
        # People have this cache, which shows a page again as it was, without asking the site.
        ignore_default_args=["--disable-back-forward-cache"],
        timeout=PATIENCE_MS,
    ) as browser:
        yield browser


@pytest.fixture(scope="package")
def firefox(playwright: Playwright) -> Iterator[Browser]:
    """The system's Firefox, without a window, by WebDriver BiDi."""
    require("firefox-esr")
    with playwright.firefox.launch(channel="moz-firefox", executable_path=FIREFOX, timeout=PATIENCE_MS) as browser:
        yield browser


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "web_browser" in metafunc.fixturenames and metafunc.definition.get_closest_marker("firefox"):
        metafunc.parametrize("web_browser", ["chromium", "firefox"], indirect=True)


@pytest.fixture
def web_browser(request: pytest.FixtureRequest) -> Browser:
    """Chromium, and Firefox too in tests with this mark."""
    browser: Browser = request.getfixturevalue(getattr(request, "param", "chromium"))
    return browser


@pytest.fixture(scope="package")
def shared_api() -> Iterator[DemoApi]:
    with DemoApi(access_ttl=60) as api:
        yield api


@pytest.fixture
def api(shared_api: DemoApi) -> Iterator[DemoApi]:
    """The API behind `site`, well and with an empty list of calls."""
    shared_api.forget_calls()
    yield shared_api
    shared_api.heal()
    shared_api.start_serving()


@pytest.fixture(scope="package")
def site(chromium: Browser, shared_api: DemoApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the site as `make run` runs it. After the browser, so that without one nothing is started."""
    more = {"API_TRACE": "true", "API_SESSION_MAX_AGE": "86400"}
    with run_server(shared_api.url, tmp_path_factory.mktemp("site"), **more) as url:
        yield url


@contextmanager
def run_server(api_url: str, folder: Path, **more: str) -> Iterator[str]:
    """The site as a developer runs it, with `more` in its environment; its address."""
    port = free_port()
    environment = {
        **clean_environment(DEBUG="true"),
        "DATABASE_URL": f"sqlite:///{folder / 'db.sqlite3'}",
        "API_BASE_URL": api_url,
        "API_DIALECT": "token-pair",
        "API_SESSION_COOKIE_NAME": "session",
        # All tests of this folder come from one address, and one name soon fails too often.
        "SIGN_IN_LIMIT_PER_ADDRESS": "",
        "SIGN_IN_LIMIT_PER_USER": f"{FAILURES}/hour",
        "LOG_LEVEL": "INFO",
        **more,
    }
    manage = [sys.executable, "manage.py"]
    put_migrated_database(folder / "db.sqlite3")
    url = f"http://127.0.0.1:{port}"
    log = folder / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*manage, "runserver", "--noreload", str(port)],
            cwd=PROJECT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def serves() -> bool:
        assert server.poll() is None, log.read_text()
        try:
            return requests.get(f"{url}/health/ready", timeout=PATIENCE_SECONDS).ok
        except requests.ConnectionError:
            return False

    try:
        wait_until(serves, "the site is ready", seconds=PATIENCE_SECONDS)
        yield url
    finally:
        stop_process(server)


@pytest.fixture
def person(web_browser: Browser, site: str) -> Iterator[BrowserContext]:
    """A browser that has never been here. Paths are relative to the site."""
    with web_browser.new_context(base_url=site, viewport={"width": 1200, "height": 800}) as context:
        context.set_default_timeout(PATIENCE_MS)
        yield context


@pytest.fixture
def page(person: BrowserContext) -> Page:
    """Its first tab."""
    return person.new_page()


def sign_in(page: Page, email: str = ADA) -> None:
    """Open the protected page, and do what it asks."""
    page.goto("/protected/")
    fill_in(page, email, DEMO_USERS[email])
    page.wait_for_url("/protected/")  # and until it has been loaded


def fill_in(page: Page, email: str, password: str) -> None:
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def expect_data(page: Page) -> None:
    expect(page.get_by_role("heading", name="Protected page")).to_be_visible()
    expect(page.get_by_role("rowheader", name=STATION)).to_be_visible()
    expect(page.get_by_role("banner").get_by_text(ADA)).to_be_visible()
