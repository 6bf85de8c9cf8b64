"""How long the admin takes over a million sessions, as a ratio to the same pages over a thousand.

A program of its own, for one database: `python -m tests.benchmarks.admin_pages`, with DATABASE_URL.
"""

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core.cache import cache  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.utils import timezone  # noqa: E402

from accounts.models import EndReason, EventKind, EventTotal, SessionEvent, SessionRecord  # noqa: E402
from accounts.models.rotation_statements import KEPT_EVENTS  # noqa: E402
from config.postgresql.connection import BoundedConnection  # noqa: E402
from tests.benchmarks.report import Report, Table  # noqa: E402

FEW = 1_000
BATCH = 5_000
DAYS = 30
REFRESH_DAYS = 7
EVENTS_OF_ONE = 150
SESSIONS_A_USER = 10
LIST = "/admin/accounts/sessionrecord/"
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
REASONS = {EndReason.SIGNED_OUT: 500, EndReason.REPLACED: 300, EndReason.EXPIRED: 180, EndReason.REFUSED: 19}
#: The rare ones: so many, however large the rest is.
REUSES, NOT_ENDED_YET = 20, 50
KINDS = {
    EventKind.CONFIRMED: 450,
    EventKind.ROTATED: 450,
    EventKind.ADOPTED: 20,
    EventKind.API_UNAVAILABLE: 10,
    EventKind.REFUSED: 5,
    EventKind.REUSED: 1,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the table to this file, too")
    parser.add_argument("--explain", action="store_true", help="print how the database answers, too")
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("bench"))
    fill(FEW)
    few = measure(client, options.rounds)
    fill(options.sessions)
    report = Report()
    report.add(
        Table(
            f"admin on {connection.display_name}",
            f"The admin over {options.sessions:,} sessions and events, against {FEW:,}: {connection.display_name}",
            ("page", "few, ms", "many, ms", "ratio", "queries"),
            [
                [page, few[page][0] * 1000, seconds * 1000, seconds / few[page][0], queries]
                for page, (seconds, queries) in measure(client, options.rounds).items()
            ],
            f"Medians of {options.rounds}.",
        )
    )
    if options.json is not None:
        report.write(options.json)
    if options.explain:
        explain(client)
    print(flush=True)


def fill(count: int) -> None:
    """Sessions of the last month, one in five not ended by its user, and as many events of the last two days."""
    now, dice = timezone.now(), random.Random(count)
    with in_a_hurry():
        SessionRecord.objects.all()._raw_delete("default")
        SessionEvent.objects.all()._raw_delete("default")
        for start in range(0, count, BATCH):
            numbers = range(start, min(start + BATCH, count))
            SessionRecord.objects.bulk_create(_record(number, count, now, dice) for number in numbers)
            SessionEvent.objects.bulk_create(_event(number, now, dice) for number in numbers)
        EventTotal.objects.all()._raw_delete("default")
        EventTotal.objects.bulk_create(_totals(now))
        one = _id(count - 1)
        SessionEvent.objects.bulk_create(
            SessionEvent(session_id=one, kind=EventKind.ROTATED, at=now, generation=number, duration_ms=12)
            for number in range(EVENTS_OF_ONE)
        )
        kept = SessionEvent(kind=EventKind.ROTATED, at=now, generation=EVENTS_OF_ONE, duration_ms=12).to_line()
        SessionRecord.objects.filter(pk=one).update(recent_events=[kept] * KEPT_EVENTS)
        if connection.vendor == "postgresql":
            # What its autovacuum does in the course of a day; SQLite's planner does without.
            with connection.cursor() as cursor:
                cursor.execute("VACUUM ANALYZE")
    cache.clear()


def _record(number: int, count: int, now: datetime, dice: random.Random) -> SessionRecord:
    signed_in = now - timedelta(days=DAYS) * (1 - number / count)
    expires = signed_in + timedelta(days=REFRESH_DAYS)
    reason = dice.choices(list(REASONS), list(REASONS.values()))[0] if dice.random() < 0.8 else None
    if number % (count // REUSES) == 0:
        reason = EndReason.REUSED
    elif reason is None and expires <= now:
        reason = EndReason.EXPIRED
    if number % (count // NOT_ENDED_YET) == 7:
        reason, expires = None, now - timedelta(hours=1)
    user = dice.randrange(max(1, count // SESSIONS_A_USER))
    name = f"{dice.choice('adgmst')}-user-{user}@example.com"
    return SessionRecord(
        id=_id(number),
        user_id=f"id-{user}",
        user_name=name,
        user_name_lower=name,
        signed_in_at=signed_in,
        last_rotated_at=signed_in + timedelta(hours=1),
        expires_at=expires,
        expiry_check_at=expires,
        generation=number % 50,
        confirmed=number % 50,
        sealed="" if reason else "s" * 1500,
        ended_at=min(now, signed_in + timedelta(hours=2)) if reason else None,
        end_reason=reason or "",
        address="192.0.2.7",
        user_agent=USER_AGENT,
    )


def _totals(now: datetime) -> list[EventTotal]:
    """Of routine events, of the last month."""
    present = now.replace(minute=0, second=0, microsecond=0)
    hours = [present - timedelta(hours=ago) for ago in range(24 * DAYS)]
    kinds = (EventKind.ROTATED, EventKind.CONFIRMED)
    return [EventTotal(hour=hour, kind=kind, count=1_000_000) for hour in hours for kind in kinds]


def _event(number: int, now: datetime, dice: random.Random) -> SessionEvent:
    return SessionEvent(
        session_id=_id(number),
        kind=dice.choices(list(KINDS), list(KINDS.values()))[0],
        trigger="401",
        at=now - timedelta(seconds=dice.randrange(48 * 3600)),
        generation=3,
        duration_ms=12,
        request_id=f"{number:032x}",
        address="192.0.2.7",
    )


def _id(number: int) -> UUID:
    """Ids in no order, as they are drawn."""
    return UUID(int=random.Random(number).getrandbits(128))


def pages() -> dict[str, Callable[[Client], Any]]:
    """What is measured, by name."""
    newest = SessionRecord.objects.latest("signed_in_at")
    today = f"{timezone.now():%Y-%m-%d 00:00:00+00:00}"
    queries: dict[str, dict[str, str]] = {
        "the list": {},
        "its last page": {"p": str(min(100, SessionRecord.objects.count() // 100))},
        "oldest first": {"o": "3"},
        "state: active": {"state": "active"},
        "state: ended": {"state": "ended"},
        "state: expired (few)": {"state": "expired"},
        "reason: the user signed out (many)": {"end_reason__exact": "signed-out"},
        "reason: reused (few)": {"end_reason__exact": "reused"},
        "signed in today": {"signed_in_at__gte": today},
        "signed in today, and reused": {"signed_in_at__gte": today, "end_reason__exact": "reused"},
        "signed in today, and expired": {"signed_in_at__gte": today, "state": "expired"},
        "search: one user's name": {"q": newest.user_name},
        "search: the beginning of many names": {"q": "a-"},
        "search: a user's id": {"q": newest.user_id},
        "search: the beginning of every id": {"q": "id-"},
        "search: a session's id": {"q": str(newest.pk)},
        "search: nothing is found": {"q": "zebra"},
        "search: many names, state: active": {"q": "a-", "state": "active"},
        "search: many names, state: expired (few)": {"q": "a-", "state": "expired"},
    }

    def ask_for(query: dict[str, str]) -> Callable[[Client], Any]:
        return lambda client: client.get(LIST, query)

    measured = {name: ask_for(query) for name, query in queries.items()}

    def with_an_empty_cache(client: Client) -> Any:
        cache.clear()
        return client.get(LIST)

    def ask_whether_to_end(client: Client) -> Any:
        chosen = list(SessionRecord.objects.order_by("-signed_in_at").values_list("pk", flat=True)[:100])
        return client.post(LIST, {"action": "end_sessions", "index": "0", "_selected_action": chosen})

    measured["the list, when no hour has been counted"] = with_an_empty_cache
    measured["a session with 150 events"] = lambda client: client.get(f"{LIST}{newest.pk}/change/")
    measured["the question before 100 are ended"] = ask_whether_to_end
    return measured


def measure(client: Client, rounds: int) -> dict[str, tuple[float, int]]:
    """The median in seconds and the number of queries, by page."""
    measured = {}
    for name, ask in pages().items():
        taken = []
        for _ in range(rounds):
            started = time.perf_counter()
            answer = ask(client)
            taken.append(time.perf_counter() - started)
            assert answer.status_code == 200, (name, answer.status_code)
        measured[name] = (statistics.median(taken), len(queries_of(client, ask)))
    return measured


def queries_of(client: Client, ask: Callable[[Client], Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        found.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        ask(client)
    return found


def explain(client: Client) -> None:
    """How the database goes about each page: the plans of the statements over sessions and events."""
    how = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, BUFFERS)"
    seen: set[str] = set()
    for name, ask in pages().items():
        print(f"\n--- {name}")
        for sql, params in queries_of(client, ask):
            if "accounts_session" not in sql or not sql.startswith("SELECT") or (sql in seen and "event" in sql):
                continue
            seen.add(sql)
            with connection.cursor() as cursor:
                cursor.execute(f"{how} {sql}", params)
                what = "count" if sql.startswith("SELECT COUNT") else "events" if "sessionevent" in sql else "page"
                print(f"{what}:", *(f"    {row[-1]}" for row in cursor.fetchall()), sep="\n")


@contextmanager
def in_a_hurry() -> Iterator[None]:
    """No limit of time on a statement, where the site's have five seconds, and memory instead of waiting for the disk.

    Afterwards a new connection has the site's own settings again.
    """
    faster = {
        "postgresql": ["SET statement_timeout = 0", "SET synchronous_commit = off"],
        "sqlite": ["PRAGMA synchronous = OFF", "PRAGMA cache_size = -1000000"],
    }
    # The site gives up on a server that is silent for seconds.
    with patch.object(BoundedConnection, "seconds", 3600.0), connection.cursor() as cursor:
        for statement in faster.get(connection.vendor, []):
            cursor.execute(statement)
        yield
    connection.close()


if __name__ == "__main__":
    main()
