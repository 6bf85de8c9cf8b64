"""What the tests of the site share: the demo API over real HTTP, and browsers in front of the real middleware."""

import os
import tempfile
from collections.abc import Iterator

import pytest
from django.db import connection
from pytest_django import Settings

from accounts.history import events
from accounts.history.background_writer import BackgroundWriter
from accounts.models import SessionEvent
from tests.browsers import PATIENCE_SECONDS, Browser
from tests.demo_api.server import DemoApi


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """A file, not memory: threads and processes share it under the same locks as in production. It is named when it is
    made, and not when the settings are read, because a process that has read them may fork several that run tests.
    """
    if connection.vendor == "sqlite":
        connection.settings_dict["TEST"]["NAME"] = f"{tempfile.gettempdir()}/accounts-tests-{os.getpid()}.sqlite3"


class Unwritten(BackgroundWriter[SessionEvent]):
    """For tests that do not look at events: an event written late must not appear in the next test's database."""

    def add(self, event: SessionEvent) -> None:
        pass


@pytest.fixture(scope="session", autouse=True)
def unwritten() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "event_writer", Unwritten(SessionEvent))
        yield


@pytest.fixture
def event_writer(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[BackgroundWriter[SessionEvent]]:
    """The site's event_writer, as in production. When the test is over it has let go of the database."""
    event_writer = BackgroundWriter(SessionEvent)
    monkeypatch.setattr(events, "event_writer", event_writer)
    yield event_writer
    assert event_writer.finish(PATIENCE_SECONDS)


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
