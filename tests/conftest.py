"""What the tests of the site share: the demo API over real HTTP, and browsers in front of the real middleware."""

import os
import tempfile
from collections.abc import Iterator

import pytest
from django.db import connection
from pytest_django import Settings

from accounts import events
from accounts.journal import Journal
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


class Unwritten(Journal):
    """For tests that do not look at the journal: what is written late must not turn up in the next one's database."""

    def add(self, event: SessionEvent) -> None:
        pass


@pytest.fixture(scope="session", autouse=True)
def unwritten() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "journal", Unwritten())
        yield


@pytest.fixture
def journal(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    """The site's journal, as in production. When the test is over it has let go of the database."""
    journal = Journal()
    monkeypatch.setattr(events, "journal", journal)
    yield journal
    assert journal.finish(PATIENCE_SECONDS)


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
