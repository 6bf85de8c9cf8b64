"""The background writer: a thread writes the rows in batches, and no request waits for it."""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from accounts.history import background_writer as module
from accounts.history import events
from accounts.history.background_writer import BackgroundWriter
from accounts.history.events import record_event
from accounts.models import EventKind, SessionEvent
from tests.accounts.history.processes import run
from tests.accounts.history.test_events import kinds, post_session_update, stream
from tests.browsers import PATIENCE_SECONDS, Browser, wait_until
from tests.demo_api.server import DemoApi

TABLE = "accounts_sessionevent"


def record_some(count: int) -> None:
    for number in range(count):
        record_event(EventKind.ROTATED, uuid4(), user_id="ada", generation=number)


def generations() -> list[int | None]:
    return list(SessionEvent.objects.order_by("pk").values_list("generation", flat=True))


def writers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "session-events"]


@contextmanager
def table_missing() -> Iterator[None]:
    """The table for events is missing, as before `migrate`."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {TABLE} RENAME TO {TABLE}_away")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {TABLE}_away RENAME TO {TABLE}")


@contextmanager
def table_locked() -> Iterator[None]:
    """Another connection has locked the table, or in SQLite the whole database."""
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE" if connection.vendor == "sqlite" else "BEGIN")
            if connection.vendor != "sqlite":
                cursor.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
        yield
    finally:
        other.close()


class TestWriting:
    def test_events_are_written_soon_without_a_call_of_finish(
        self, event_writer: BackgroundWriter[SessionEvent]
    ) -> None:
        record_some(3)

        wait_until(lambda: generations() == [0, 1, 2])

    def test_more_than_a_batch_is_written_in_order(self, event_writer: BackgroundWriter[SessionEvent]) -> None:
        record_some(1000)

        assert event_writer.finish(PATIENCE_SECONDS)
        assert generations() == list(range(1000))

    def test_many_threads_share_one_writer(self, event_writer: BackgroundWriter[SessionEvent]) -> None:
        threads = [threading.Thread(target=record_some, args=(50,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(writers()) == 1
        assert event_writer.finish(PATIENCE_SECONDS)
        assert sorted(map(int, filter(None, generations()))) == sorted(list(range(1, 50)) * 8)

    def test_when_there_is_nothing_to_write_it_holds_neither_thread_nor_connection(
        self, event_writer: BackgroundWriter[SessionEvent], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_IDLE_SECONDS", 0.05)
        record_some(1)

        wait_until(lambda: not writers())
        record_some(1)
        wait_until(lambda: generations() == [0, 0])

    def test_events_that_the_database_refuses_are_dropped_and_all_others_are_written(
        self, event_writer: BackgroundWriter[SessionEvent], caplog: pytest.LogCaptureFixture
    ) -> None:
        at, huge = timezone.now(), 2**70
        for generation in range(300):
            # SQLite's driver cannot send a huge number. PostgreSQL refuses it.
            refused = {0: -1, 77: huge, 199: -2, 200: -3}.get(generation)
            number = generation if refused is None else refused
            event_writer.add(SessionEvent(session_id=uuid4(), kind=EventKind.ROTATED, at=at, generation=number))

        assert event_writer.finish(PATIENCE_SECONDS)

        assert generations() == [number for number in range(300) if number not in (0, 77, 199, 200)]
        lines = [line.getMessage() for line in caplog.records if "refused" in line.getMessage()]
        assert len(lines) == 4
        assert lines[0] == "the database refused one of the session events, which is dropped: IntegrityError"
        assert str(huge) not in caplog.text

    def test_an_outage_in_the_middle_of_a_batch_with_a_refused_event_loses_and_doubles_nothing(
        self, event_writer: BackgroundWriter[SessionEvent], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)
        insert, tries = event_writer.insert, count()

        def insert_with_outages(batch: list[SessionEvent], database: str) -> None:
            if next(tries) in (2, 5):
                raise OperationalError("the connection was closed")
            insert(batch, database)

        monkeypatch.setattr(event_writer, "insert", insert_with_outages)
        at = timezone.now()
        for generation in range(60):
            number = -1 if generation == 41 else generation
            event_writer.add(SessionEvent(session_id=uuid4(), kind=EventKind.ROTATED, at=at, generation=number))

        assert event_writer.finish(PATIENCE_SECONDS)
        assert generations() == [number for number in range(60) if number != 41]


class TestTrouble:
    def test_without_a_table_requests_continue_and_the_events_are_written_later(
        self,
        event_writer: BackgroundWriter[SessionEvent],
        signed_in: Browser,
        api: DemoApi,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)
        api.expire_access_tokens()
        page = stream(signed_in)
        before = kinds(event_writer)
        tries: list[int] = []
        insert = event_writer.insert

        def count_and_insert(batch: list[SessionEvent], database: str) -> None:
            tries.append(len(batch))
            insert(batch, database)

        monkeypatch.setattr(event_writer, "insert", count_and_insert)

        with table_missing():
            post_session_update(signed_in, page)
            wait_until(lambda: len(tries) > 3)
            assert signed_in.is_signed_in()
            signed_in.sign_out()

        after = [EventKind.UPDATE_ACCEPTED, EventKind.CONFIRMED, EventKind.SIGNED_OUT]
        assert kinds(event_writer) == [*before, *after]
        assert caplog.text.count("cannot be written at present") == 1, "one line for each outage"

    def test_a_request_does_not_wait_for_a_lock_on_the_table(
        self, event_writer: BackgroundWriter[SessionEvent], signed_in: Browser, api: DemoApi
    ) -> None:
        api.expire_access_tokens()
        page = stream(signed_in)
        before = kinds(event_writer)

        with table_locked():
            post_session_update(signed_in, page)
            record_some(2000)
            assert [event.kind for event in event_writer._queue][:1] == [EventKind.UPDATE_ACCEPTED]

        assert kinds(event_writer) == [*before, EventKind.UPDATE_ACCEPTED, *[EventKind.ROTATED] * 2000]

    def test_when_the_queue_is_full_new_events_are_dropped_with_one_warning(
        self,
        event_writer: BackgroundWriter[SessionEvent],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        small = BackgroundWriter(SessionEvent, room=5)
        monkeypatch.setattr(events, "event_writer", small)
        caplog.set_level(logging.INFO, logger="accounts.history.background_writer")

        with table_missing():
            record_some(20)
        assert small.finish(PATIENCE_SECONDS)

        assert generations() == [0, 1, 2, 3, 4]
        warnings = [line for line in caplog.records if line.levelno == logging.WARNING]
        assert [line.getMessage() for line in warnings if line.name == "accounts.history.background_writer"] == [
            "5 session events wait to be written: new ones are dropped until there is room"
        ]
        assert "15 were dropped" in caplog.text
        assert sum(line.name == "accounts.history.events" for line in caplog.records) == 20, "the log has them all"

    def test_after_a_thread_that_could_not_start_the_next_event_tries_again(
        self, event_writer: BackgroundWriter[SessionEvent], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            record_some(1)
        assert not event_writer.finish(PATIENCE_SECONDS)
        record_some(1)

        assert event_writer.finish(PATIENCE_SECONDS)
        assert generations() == [0, 0]


RECORD = """
def record(generation):
    record_event(EventKind.ROTATED, UUID(int=generation), user_id="ada", generation=generation)
"""

CHILDREN = """
record(1)
children = []
for generation in (2, 3):
    child = os.fork()
    if not child:
        record(generation)
        sys.exit()
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
record(4)
"""


class TestProcesses:
    """In separate processes, because the writer of this process continues."""

    def written(self, database: Path) -> list[int]:
        with closing(sqlite3.connect(database)) as reader:
            return [row[0] for row in reader.execute(f"SELECT generation FROM {TABLE} ORDER BY generation")]  # noqa: S608

    def test_an_event_just_before_the_end_is_written(self, database: Path) -> None:
        run(RECORD + "record(1)", database)

        assert self.written(database) == [1]

    def test_a_child_writes_its_own_events_and_its_parents_none(self, database: Path) -> None:
        """The parent's events are still queued when it forks, and its thread is running."""
        run(RECORD + CHILDREN, database)

        assert self.written(database) == [1, 2, 3, 4]

    def test_a_process_ends_though_the_database_is_locked(self, database: Path) -> None:
        with closing(sqlite3.connect(database, isolation_level=None)) as locking:
            locking.execute("BEGIN EXCLUSIVE")
            run(RECORD + "background_writer._EXIT_SECONDS = 0.2\nrecord(1)", database)

        assert self.written(database) == []


def test_the_writers_of_a_process_that_ends_share_one_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database hangs. A container is killed 10 seconds after it has been told to end."""
    monkeypatch.setattr(module, "_EXIT_SECONDS", 0.5)
    goes_on = threading.Event()
    monkeypatch.setattr(BackgroundWriter, "insert", lambda *_: goes_on.wait(PATIENCE_SECONDS))
    writers = [BackgroundWriter(SessionEvent) for _ in range(6)]
    monkeypatch.setattr(module, "_writers", writers)
    for writer in writers:
        writer.add(SessionEvent(session_id=uuid4(), kind=EventKind.ROTATED, at=timezone.now()))

    began = time.monotonic()
    module.finish_writers()
    took = time.monotonic() - began

    goes_on.set()
    assert all(writer.finish(PATIENCE_SECONDS) for writer in writers)
    assert 0.4 < took < 2
