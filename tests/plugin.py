"""What all tests share: which tests run, the demo API over real HTTP, browsers in front of the real middleware."""

import functools
import gc
import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from django.db import connection, transaction
from django.test import TransactionTestCase
from pytest_django import Settings

from accounts.history import events
from accounts.history.background_writer import BackgroundWriter
from accounts.history.event_totals import EventCounter
from accounts.models import SessionEvent
from accounts.sign_in import sign_in
from accounts.upstream import transport
from tests.browsers import PATIENCE_SECONDS, Browser
from tests.demo_api.server import DemoApi

#: These tests start browsers or many processes. `pytest` leaves them out; `pytest -m large` runs them.
LARGE = {"browser", "nginx", "postgres", "prometheus", "proxies", "storm", "vite"}
#: These begin first, in this order.
LONGEST_FIRST = (
    *("test_on_postgres", "load/test_storm.py", "test_storm_per_dialect"),
    *("test_rotation_model", "test_their_types_are_right", "tests/load/"),
)
#: Random tests do not count for coverage, which slows them down by a quarter.
UNMEASURED = ("tests/fuzz/", "tests/accounts/rotation/test_rotation_model.py")
#: Of sign-ins that fail.
SIGN_IN_LIMITS = ("SIGN_IN_LIMIT_PER_ADDRESS", "SIGN_IN_LIMIT_PER_USER", "SIGN_IN_LIMIT_PER_USER_ANYWHERE")
#: Migrations fill these, and tests only read them.
KEPT_TABLES = {"django_content_type", "auth_permission"}


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """The whole suite runs on all cores. What is named or selected runs in one process, as -s and debuggers need it."""
    options = config.option
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    is_selected = options.keyword or options.markexpr or options.maxfail or options.capture == "no"
    return None if is_whole and not is_selected else 0


def pytest_itemcollected(item: pytest.Item) -> None:
    if item.nodeid.startswith(UNMEASURED):
        item.add_marker("no_cover")
    marks = {mark.name for mark in item.iter_markers()} & LARGE
    if marks:
        item.add_marker("large")
        # Else pytest_ignore_collect would leave it out.
        assert names_a_mark(item.path, marks), f"{item.path} does not name pytest.mark.{min(marks)} itself"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With -m large, a file that names no mark of large tests is not imported."""
    wanted = LARGE if config.option.markexpr == "large" else LARGE & {config.option.markexpr}
    if not wanted or not collection_path.match("test_*.py"):
        return None
    return None if names_a_mark(collection_path, wanted) else True


@functools.cache
def text_of(path: Path) -> str:
    return path.read_text()


def names_a_mark(path: Path, names: set[str]) -> bool:
    return any(f"mark.{name}" in text_of(path) for name in names)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Thousands of tests are hundreds of thousands of objects that stay to the end: nothing to look for garbage in."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)  # after -k and -m
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without -m, leave out the large tests. `pytest tests/browser` selects nothing else, so it runs them."""
    large = [item for item in items if item.get_closest_marker("large")]
    quick = [item for item in items if not item.get_closest_marker("large")]
    if quick and not config.option.markexpr:
        config.hook.pytest_deselected(items=large)
        items[:] = quick
    # The longest ones begin first, so that none of them runs alone at the end.
    items.sort(key=lambda item: [part not in item.nodeid for part in LONGEST_FIRST])


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """A database for each worker, named after it. SQLite has a file and not memory: threads and processes share it
    under the same locks as in production. It gets its name here and not in the settings, because a process that has
    read them may fork several processes that run tests.
    """
    if connection.vendor == "sqlite":
        connection.settings_dict["TEST"]["NAME"] = f"{tempfile.gettempdir()}/accounts-tests-{os.getpid()}.sqlite3"


@pytest.fixture(scope="session", autouse=True)
def quick_flush() -> Iterator[None]:
    """Empty the tables after a test in less time: Django's flush also makes content types and permissions anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda test: delete_rows())
        yield


def delete_rows() -> None:
    """Empty all tables but KEPT_TABLES. Most are empty: PostgreSQL's TRUNCATE would make new files for these, too."""
    tables = set(connection.introspection.django_table_names(only_existing=True, include_views=False)) - KEPT_TABLES
    filled = " UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {name})" for name in tables)  # noqa: S608
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(filled)
        for (name,) in cursor.fetchall():
            cursor.execute(f"DELETE FROM {name}")  # noqa: S608


@pytest.fixture(scope="session", autouse=True)
def small_pool() -> Iterator[None]:
    """Most tests have an API of their own, and urllib3 fills a pool for each one with as many empty places."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport, "_POOL_CONNECTIONS", 50)
        yield


class DiscardingWriter(BackgroundWriter[SessionEvent]):
    """Discards events, for tests that do not read them: a late event must not appear in the next test's database."""

    def add(self, event: SessionEvent) -> None:
        pass


class DiscardingCounter(EventCounter):
    def count(self, event: SessionEvent) -> None:
        pass


@pytest.fixture(scope="session", autouse=True)
def discard_events() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "event_writer", DiscardingWriter(SessionEvent))
        patch.setattr(events, "event_counter", DiscardingCounter())
        yield


@pytest.fixture
def event_counter(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[EventCounter]:
    """The site's event_counter, as in production. At the end of the test it has closed its database connection."""
    event_counter = EventCounter()
    monkeypatch.setattr(events, "event_counter", event_counter)
    yield event_counter
    assert event_counter.finish(PATIENCE_SECONDS)


@pytest.fixture
def event_writer(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[BackgroundWriter[SessionEvent]]:
    """The site's event_writer, as in production. At the end of the test it has closed its database connection."""
    event_writer = BackgroundWriter(SessionEvent)
    monkeypatch.setattr(events, "event_writer", event_writer)
    yield event_writer
    assert event_writer.finish(PATIENCE_SECONDS)


@pytest.fixture
def api(settings: Settings) -> Iterator[DemoApi]:
    """A strict demo API for this test. The site uses it."""
    with DemoApi(access_ttl=60) as api:
        settings.API_BASE_URL = api.url
        yield api


@pytest.fixture
def browser(api: DemoApi, transactional_db: None) -> Browser:
    """A browser without a session."""
    return Browser()


@pytest.fixture
def signed_in(browser: Browser) -> Browser:
    """A browser in which Ada has signed in. Nothing is counted for the limits, and her address does not become known
    to them: that would take most of the time.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sign_in, "rate_limited_attempt", lambda *_: nullcontext())
        browser.sign_in()
    return browser
