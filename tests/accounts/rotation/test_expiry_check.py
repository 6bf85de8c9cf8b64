"""`expiry_check_at`: until then a session has not expired. Most rotations leave it, so they change no index."""

import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from accounts.admin.statistics import count_active_sessions
from accounts.history.events import new_event
from accounts.models import EventKind, SessionRecord
from accounts.session.api_session import ApiSession
from accounts.session.tokens import TokenPair, User
from tests.accounts.admin.pages import add_record

pytestmark = pytest.mark.django_db

HOUR = 3600.0
SIGNED_IN = ApiSession.begin(
    User(id=1, name="ada@example.com", email="ada@example.com"),
    TokenPair(access="a0", refresh="r0", received_at=0.0, access_expires_at=None, refresh_expires_at=None),
)


def days(number: float) -> datetime:
    return timezone.now() + timedelta(days=number)


def begun(expires_in: float | None) -> ApiSession:
    """A new session, whose refresh token expires in so many seconds."""
    session = rotated(SIGNED_IN, expires_in)
    SessionRecord.objects.begin(session, address="192.0.2.7", user_agent="")
    return session


def rotated(session: ApiSession, expires_in: float | None) -> ApiSession:
    expires_at = None if expires_in is None else time.time() + expires_in
    tokens = replace(session.tokens, refresh_expires_at=expires_at)
    return replace(session, tokens=tokens, generation=session.generation + 1, confirmed=False)


def counted_updates() -> tuple[int, int]:
    """Updates of sessions in this transaction, and how many of them touched no index. SQLite counts none."""
    if connection.vendor != "postgresql":
        return 0, 0
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'accounts_sessionrecord'"
        )
        updates, hot = cursor.fetchone()
    return updates, hot


class TestRotations:
    @pytest.mark.parametrize(
        ("check_in", "expires_in", "is_kept"),
        [
            (HOUR, 2 * HOUR, True),
            (HOUR, HOUR + 1, True),
            (0.3 * HOUR, HOUR, True),
            (0.2 * HOUR, HOUR, False),
            (-HOUR, HOUR, False),
            (2 * HOUR, HOUR, False),
            (None, HOUR, False),
            (HOUR, None, False),
            (None, None, True),
        ],
    )
    def test_it_stays_unless_it_is_soon_too_late_or_unknown(
        self, check_in: float | None, expires_in: float | None, is_kept: bool
    ) -> None:
        session = begun(check_in)
        check_at = session.expiry()
        assert SessionRecord.objects.get().expiry_check_at == check_at

        for name in ("store", "catch_up", "set_expiry"):
            session = rotated(session, expires_in)
            SessionRecord.objects.update(expiry_check_at=check_at)
            if name == "set_expiry":
                SessionRecord.objects.update(generation=session.generation)
            event = [new_event(EventKind.ROTATED, session.id)] if name == "store" else []
            assert getattr(SessionRecord.objects, name)(session, *event)
            record = SessionRecord.objects.get()
            assert record.expires_at == session.expiry()
            assert record.expiry_check_at == (check_at if is_kept else session.expiry())

    def test_they_change_no_index(self) -> None:
        """On PostgreSQL: each update is a HOT update."""
        session = begun(HOUR)
        updates, hot = counted_updates()

        assert SessionRecord.objects.claim(session.id, generation=1, owner="a-request", lease_seconds=60)
        newer = rotated(session, 2 * HOUR)
        assert SessionRecord.objects.store(newer, new_event(EventKind.ROTATED, session.id))
        assert SessionRecord.objects.confirm_newest(newer, "", new_event(EventKind.CONFIRMED, session.id))

        updates_now, hot_now = counted_updates()
        assert hot_now - hot == updates_now - updates
        assert updates_now - updates == (3 if connection.vendor == "postgresql" else 0)


class TestPruneSessions:
    def test_it_looks_again_at_sessions_that_have_not_expired_when_they_do(self) -> None:
        """In batches. Those without a time are of hosts of an earlier release."""
        dead = [add_record(expires_at=days(-2), **check) for check in ({}, {"expiry_check_at": days(-3)})]
        living: list[tuple[Any, SessionRecord]] = [
            (expires_at, add_record(expires_at=expires_at, **check))
            for expires_at in (days(5), days(3), days(-0.5), None)
            for check in ({}, {"expiry_check_at": days(-1)}, {"expiry_check_at": days(-4)})
        ]
        later = add_record(expires_at=days(9), expiry_check_at=days(1))

        call_command("prune_sessions", batch=2)

        assert {record.pk for record in SessionRecord.objects.ended()} == {record.pk for record in dead}
        for expires_at, record in living:
            record.refresh_from_db()
            assert (record.expires_at, record.expiry_check_at) == (expires_at, expires_at)
        check_at = later.expiry_check_at
        later.refresh_from_db()
        assert later.expiry_check_at == check_at


def test_an_active_session_counts_whether_it_is_due_or_not() -> None:
    now = timezone.now()
    for expires_at in (days(1), None):
        add_record(expires_at=expires_at)
        add_record(expires_at=expires_at, expiry_check_at=expires_at)
    add_record(expires_at=days(1), expiry_check_at=now)
    add_record(expires_at=days(-1))
    add_record(expires_at=days(-1), expiry_check_at=days(-1))
    add_record(expires_at=days(1), ended_at=now)

    assert count_active_sessions() == (5, True)
    assert SessionRecord.objects.expired().count() == 2
