"""Routine events are counted in memory and added to the totals of each hour: each once, also after an outage."""

import signal
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest
from django.db import OperationalError

from accounts.history import background_writer, event_totals
from accounts.history.event_totals import EventCounter
from accounts.models import EventKind, EventTotal, SessionEvent
from accounts.models.event_total import EventTotalQuerySet
from tests.accounts.history.processes import run
from tests.browsers import PATIENCE_SECONDS, wait_until

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(kind: EventKind = EventKind.ROTATED, at: datetime = NOON) -> SessionEvent:
    return SessionEvent(session_id=uuid4(), kind=kind, at=at)


def totals() -> dict[tuple[datetime, str], int]:
    return {(total.hour, total.kind): total.count for total in EventTotal.objects.all()}


class TestCounting:
    def test_each_hour_and_kind_has_one_total(self, event_counter: EventCounter) -> None:
        last_moment = NOON + timedelta(minutes=59, seconds=59, microseconds=999_999)
        for at in (NOON, last_moment, NOON + timedelta(hours=1)):
            event_counter.count(event(at=at))
            event_counter.count(event(EventKind.CONFIRMED, at))
        assert event_counter.finish(PATIENCE_SECONDS)
        event_counter.count(event())

        assert event_counter.finish(PATIENCE_SECONDS)
        assert totals() == {
            (NOON, EventKind.ROTATED): 3,
            (NOON, EventKind.CONFIRMED): 2,
            (NOON + timedelta(hours=1), EventKind.ROTATED): 1,
            (NOON + timedelta(hours=1), EventKind.CONFIRMED): 1,
        }

    def test_many_threads_of_many_processes_add_to_one_hour(self, event_counter: EventCounter) -> None:
        """Each counter stands for a process. All of them begin with an hour that has no row yet."""
        counters = [event_counter, *(EventCounter() for _ in range(3))]

        def count_some(counter: EventCounter) -> None:
            for _ in range(500):
                counter.count(event())

        threads = [threading.Thread(target=count_some, args=(counter,)) for counter in counters * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        finishing = [threading.Thread(target=counter.finish, args=(PATIENCE_SECONDS,)) for counter in counters]
        for thread in finishing:
            thread.start()
        for thread in finishing:
            thread.join()
        assert totals() == {(NOON, EventKind.ROTATED): 4000}

    def test_a_total_is_written_soon_without_a_call_of_finish(
        self, transactional_db: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(event_totals, "_GATHER_SECONDS", 0.05)
        counter = EventCounter()
        counter.count(event())

        wait_until(lambda: totals() == {(NOON, EventKind.ROTATED): 1})
        assert counter.finish(PATIENCE_SECONDS)


def test_an_outage_loses_no_count_and_adds_none_twice(
    event_counter: EventCounter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It begins when one of two totals has been added, and a rotation is counted meanwhile."""
    monkeypatch.setattr(background_writer, "_RETRY_SECONDS", 0.01)
    add, tries = EventTotalQuerySet.add, count()

    def add_with_outages(rows: EventTotalQuerySet, hour: datetime, kind: str, number: int) -> None:
        add(rows, hour, kind, number)
        if next(tries) in (1, 3):
            event_counter.count(event())
            raise OperationalError("the connection was closed")

    monkeypatch.setattr(EventTotalQuerySet, "add", add_with_outages)
    for kind in (EventKind.ROTATED, EventKind.CONFIRMED) * 7:
        event_counter.count(event(kind))

    assert event_counter.finish(PATIENCE_SECONDS)
    assert next(tries) == 7
    assert totals() == {(NOON, EventKind.ROTATED): 9, (NOON, EventKind.CONFIRMED): 7}
    assert caplog.text.count("event totals cannot be written at present: OperationalError") == 1


COUNT = """
from accounts.history.events import new_event, record_kept_event
from accounts.history.event_totals import event_counter

def rotate(times):
    for _ in range(times):
        record_kept_event(new_event(EventKind.ROTATED, UUID(int=1), generation=1), user_id="ada")
"""
CHILDREN = """
rotate(1)
children = []
for times in (10, 100):
    child = os.fork()
    if not child:
        rotate(times)
        sys.exit()
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
rotate(1000)
"""
KILLED = """
import signal, time
from accounts.models import EventTotal
event_counter._gather_seconds = 0.05
rotate(5)
while not EventTotal.objects.exists():
    time.sleep(0.01)
event_counter._gather_seconds = 60
rotate(2)
os.kill(os.getpid(), signal.SIGKILL)
"""
ASGI = """
import asyncio
from config.asgi import application
messages = iter(["lifespan.startup", "lifespan.shutdown"])

async def receive():
    return {"type": next(messages)}

async def send(message):
    pass

rotate(1)
record_event(EventKind.SIGNED_IN, UUID(int=1), user_id="ada")
asyncio.run(application({"type": "lifespan"}, receive, send))
os._exit(0)
"""


class TestProcesses:
    def written(self, database: Path) -> list[tuple[str, int]]:
        with closing(sqlite3.connect(database)) as reader:
            return reader.execute("SELECT kind, sum(count) FROM accounts_eventtotal GROUP BY kind").fetchall()

    def test_parent_and_children_count_their_own_events_until_they_end(self, database: Path) -> None:
        run(COUNT + CHILDREN, database)

        assert self.written(database) == [("rotated", 1111)]

    def test_an_asgi_server_writes_all_before_it_ends_by_a_signal(self, database: Path) -> None:
        """Such an end runs no `atexit` functions."""
        run(COUNT + ASGI, database)

        assert self.written(database) == [("rotated", 1)]
        with closing(sqlite3.connect(database)) as reader:
            assert reader.execute("SELECT kind FROM accounts_sessionevent").fetchall() == [("signed-in",)]

    def test_a_process_that_is_killed_loses_only_what_it_has_counted_last(self, database: Path) -> None:
        run(COUNT + KILLED, database, status=-signal.SIGKILL)

        assert self.written(database) == [("rotated", 5)]
