"""What `rows` runs against one database: fill it with sessions, rotate them, say what they cost, prune them.

A program of its own, with DATABASE_URL: `python -m tests.benchmarks.rows_program`. Its answers are lines of JSON.

A rotation runs the code of two requests: claim, store and the look on the way out; and when the browser comes back with
the new cookie, the confirmation and once more the look on the way out. Its two events are counted too. What is missing
is everything around it: cookies, pages, and the API, which answers at once.
"""

import argparse
import hashlib
import json
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Any
from uuid import UUID

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection, connections  # noqa: E402

from accounts.dialects.base import Refreshed  # noqa: E402
from accounts.history.event_totals import event_counter  # noqa: E402
from accounts.history.events import event_writer, record_event  # noqa: E402
from accounts.models import EventKind, SessionEvent, SessionRecord, Trigger  # noqa: E402
from accounts.rotation import confirm  # noqa: E402
from accounts.rotation import rotate as rotation  # noqa: E402
from accounts.rotation.reuse_detection import Presented  # noqa: E402
from accounts.session.api_session import ApiSession  # noqa: E402
from accounts.session.tokens import TokenPair, User  # noqa: E402

#: The pair has 1.2 KB, as two JWTs with a few claims have.
ACCESS_BYTES, REFRESH_BYTES = 800, 400
#: Sign-ins, and events, are spread over so many days, however many there are.
DAYS = 12
REFRESH_DAYS = 30
#: With rows of their own: its begin and its end.
EVENTS_A_SESSION = 2
ADDRESS = "192.0.2.7"
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
TABLES = {"sessions": SessionRecord._meta.db_table, "events": SessionEvent._meta.db_table}

#: How each database says: an id from a number, a moment so many seconds before another one, and the largest time.
_SQL = {
    "sqlite": {
        "id": "md5(CAST({n} AS text))",
        "ago": "strftime('%Y-%m-%d %H:%M:%f000', {moment}, '-' || ({seconds}) || ' seconds')",
        "hurry": ["PRAGMA synchronous = OFF", "PRAGMA journal_mode = OFF", "PRAGMA cache_size = -2000000"],
    },
    "postgresql": {
        "id": "CAST(md5(CAST({n} AS text)) AS uuid)",
        "ago": "{moment} - ({seconds}) * interval '1 second'",
        "hurry": ["SET statement_timeout = 0", "SET synchronous_commit = off", "SET work_mem = '256MB'"],
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["fill", "rotate", "weigh", "prune"])
    parser.add_argument("--sessions", type=int, help="how many there are, or are to be")
    parser.add_argument("--seconds", type=float, help="rotate: for so long")
    parser.add_argument("--threads", type=int, help="rotate: so many at once")
    parser.add_argument("--share", default="0/1", help="rotate: which part of the sessions, of how many")
    parser.add_argument("--keep-days", type=int, help="prune: what is older goes")
    options = parser.parse_args()
    if options.what == "fill":
        call_command("migrate", verbosity=0)
        say(seconds=fill(options.sessions))
    elif options.what == "rotate":
        say(**rotate_for(options.seconds, options.sessions, options.threads, options.share))
    elif options.what == "weigh":
        say(**weigh())
    else:
        say(**prune(options.keep_days))


def say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def fill(sessions: int) -> float:
    """Write so many living sessions, copies of one that was rotated and confirmed, and two rows of events for each.

    Returns the seconds that it took.
    """
    started = time.monotonic()
    stand_in_for_the_api()
    pattern = a_session(0)
    SessionRecord.objects.begin(pattern, address=ADDRESS, user_agent=USER_AGENT)
    post_session_update(pattern)
    for kind in (EventKind.SIGNED_IN, EventKind.SIGNED_OUT):
        record_event(kind, pattern.id, user_id=pattern.user.id, generation=0, address=ADDRESS)
    event_writer.finish(10.0)
    event_counter.finish(10.0)
    record, event = TABLES["sessions"], TABLES["events"]
    with in_a_hurry() as sql:
        ago = f"n * {DAYS * 86400 / sessions:f}"
        copy(
            record,
            SessionRecord,
            with_=f"RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {sessions})",  # noqa: S608
            rows=f"numbers, {record} AS old",
            id=sql["id"].format(n="n"),
            user_id="'id-' || n",
            user_name="'user-' || n || '@example.com'",
            user_name_lower="'user-' || n || '@example.com'",
            signed_in_at=sql["ago"].format(moment="old.signed_in_at", seconds=ago),
            expires_at=sql["ago"].format(moment="old.expires_at", seconds=ago),
            expiry_check_at=sql["ago"].format(moment="old.expires_at", seconds=ago),
        )
        SessionRecord.objects.filter(pk=pattern.id).delete()
        copy(
            event,
            SessionEvent,
            with_=f"few AS (SELECT * FROM {event} WHERE session_id = '{_text(pattern.id)}')",  # noqa: S608
            rows=f"{record} AS session, few AS old",
            session_id="session.id",
            at="session.signed_in_at",
        )
        SessionEvent.objects.filter(session_id=pattern.id).delete()
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                # What its autovacuum does in the course of a day.
                cursor.execute("VACUUM ANALYZE")
                cursor.execute("CHECKPOINT")
    assert SessionRecord.objects.count() == sessions
    assert SessionEvent.objects.count() == EVENTS_A_SESSION * sessions
    return time.monotonic() - started


def copy(table: str, model: Any, *, with_: str, rows: str, **changed: str) -> None:
    """INSERT ... SELECT of `old` rows, some of whose columns are changed."""
    names = [field.column for field in model._meta.concrete_fields if not (field.primary_key and "id" not in changed)]
    values = ", ".join(changed.get(name, f"old.{name}") for name in names)
    with connection.cursor() as cursor:
        # Names and numbers of our own.
        cursor.execute(f"WITH {with_} INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {rows}")  # noqa: S608


@contextmanager
def in_a_hurry() -> Iterator[dict[str, Any]]:
    """No limit of time on a statement, and memory instead of waiting for the disk. Afterwards as the site has it."""
    sql = _SQL[connection.vendor]
    with connection.cursor() as cursor:
        for statement in sql["hurry"]:
            cursor.execute(statement)
    yield sql
    connection.close()


def rotate_for(seconds: float, sessions: int, threads: int, share: str) -> dict[str, float]:
    """Rotate sessions at random, until the time is over and the last event is counted.

    `share` ("2/4") keeps processes off each other's sessions, as it does threads. Begins when a line comes in. Returns
    the rotations, the seconds, and the CPU seconds of this process.
    """
    part, parts = map(int, share.split("/"))
    stand_in_for_the_api()
    start = threading.Event()

    def work(thread: int) -> int:
        mine = range(part * threads + thread, sessions, parts * threads)
        dice, generations = random.Random(), {}  # type: random.Random, dict[int, int]
        connection.ensure_connection()
        start.wait()
        ends_at, done = time.monotonic() + seconds, 0
        while time.monotonic() < ends_at:
            number = 1 + dice.choice(mine)
            # A record may be behind its cookie, so nobody has to look up the generation of last time.
            generation = generations.get(number) or time.time_ns() // 1_000_000
            generations[number] = post_session_update(a_session(number, generation)).generation
            done += 1
        connections.close_all()
        return done

    with ThreadPoolExecutor(threads) as pool:
        workers = [pool.submit(work, thread) for thread in range(threads)]
        say(ready=True)
        sys.stdin.readline()
        started, cpu = time.monotonic(), time.process_time()
        start.set()
        rotations = sum(worker.result() for worker in workers)
        assert event_counter.finish(60.0), "the event_counter fell behind"
        return {
            "rotations": rotations,
            "seconds": time.monotonic() - started,
            "cpu": time.process_time() - cpu,
        }


def post_session_update(session: ApiSession) -> ApiSession:
    """Rotate a session, and confirm it as the browser's next request does. Returns what the browser has by then."""
    presented = Presented(generation=session.generation, arrived=time.monotonic(), address=ADDRESS)
    minted = rotation.rotate(session, presented, trigger=Trigger.EXPIRED, patient=True).session
    written = confirm.session_to_write(minted, presented)
    assert written is not None
    presented = Presented(generation=written.generation, arrived=time.monotonic(), address=ADDRESS)
    confirmed = confirm.check_record(written, presented)
    assert confirmed.confirmed
    kept = confirm.session_to_write(confirmed, presented)
    assert kept is not None
    return kept


def stand_in_for_the_api() -> None:
    """It answers at once and by itself: what is measured is the database."""
    number = count()

    def refresh(*_: object, **__: object) -> Refreshed:
        return Refreshed(a_pair(next(number)))

    rotation.request_refresh = refresh  # type: ignore[attr-defined]


def a_session(number: int, generation: int = 0) -> ApiSession:
    """Session `number`, held by a browser that has confirmed this generation. Nobody opens what is sealed here."""
    return ApiSession(
        id=UUID(hashlib.md5(str(number).encode()).hexdigest()),  # noqa: S324  # a name, no secret
        secret=bytes(16),
        user=User(id=number, name=f"user-{number}@example.com", email=f"user-{number}@example.com"),
        tokens=a_pair(0),
        generation=generation,
        confirmed=True,
        signed_in_at=time.time(),
    )


def a_pair(number: int) -> TokenPair:
    now = time.time()
    return TokenPair(
        access=f"{number:x}".rjust(ACCESS_BYTES, "a"),
        refresh=f"{number:x}".rjust(REFRESH_BYTES, "r"),
        received_at=now,
        access_expires_at=now + 900,
        refresh_expires_at=now + REFRESH_DAYS * 86400,
    )


def weigh() -> dict[str, dict[str, int]]:
    """The rows of each table, the bytes that it takes, and those of its indexes."""
    return {
        what: {
            "rows": count_rows(table),
            **(_weigh_sqlite if connection.vendor == "sqlite" else _weigh_postgres)(table),
        }
        for what, table in TABLES.items()
    }


def count_rows(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")  # noqa: S608
        return int(cursor.fetchone()[0])


def _weigh_sqlite(table: str) -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, type FROM sqlite_master WHERE tbl_name = %s", [table])
        types = dict(cursor.fetchall())
        # Pages, since their bytes overflow there above 2 GB.
        cursor.execute("SELECT name, pageno FROM dbstat WHERE aggregate = TRUE")
        pages = dict(cursor.fetchall())
        cursor.execute("PRAGMA page_size")
        (page_bytes,) = cursor.fetchone()
    return {
        "table": pages[table] * page_bytes,
        "indexes": sum(pages[name] for name, what in types.items() if what == "index") * page_bytes,
    }


def _weigh_postgres(table: str) -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_table_size(%s::regclass), pg_indexes_size(%s::regclass)", [table, table])
        in_table, in_indexes = cursor.fetchone()
    return {"table": in_table, "indexes": in_indexes}


def prune(keep_days: int) -> dict[str, float]:
    """Run `prune_sessions`, and say how many events it removed in how many seconds."""
    before, started = count_rows(TABLES["events"]), time.monotonic()
    call_command("prune_sessions", keep_days=keep_days, stdout=open(os.devnull, "w"))  # noqa: SIM115
    seconds = time.monotonic() - started
    return {"removed": before - count_rows(TABLES["events"]), "seconds": seconds}


def _text(session_id: UUID) -> str:
    """As the database writes it down."""
    return session_id.hex if connection.vendor == "sqlite" else str(session_id)


if __name__ == "__main__":
    main()
