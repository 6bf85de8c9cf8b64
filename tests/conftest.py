"""What the tests of the site share: the demo API over real HTTP, and browsers in front of the real middleware."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.browsers import Browser
from tests.demo_api.server import DemoApi


@pytest.fixture
def api(settings: Settings) -> Iterator[DemoApi]:
    """A strict demo API of its own, and the site pointed at it."""
    with DemoApi(access_ttl=60) as api:
        settings.API_BASE_URL = api.url
        yield api


@pytest.fixture
def browser(api: DemoApi, transactional_db: None) -> Browser:
    """A browser that nobody has signed in with yet."""
    return Browser()


@pytest.fixture
def signed_in(browser: Browser) -> Browser:
    """A browser in which Ada has signed in."""
    browser.sign_in()
    return browser
