"""The commands: `prepare_demo` for `make run`, and `prune_sessions` for a nightly job."""

import io
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import EndReason, EventKind, EventTotal, SessionEvent, SessionRecord
from accounts.models.attempt_count import AttemptCount
from accounts.signals import session_ended


def run(name: str, **options: Any) -> str:
    """Run a command, and return what it printed."""
    output = io.StringIO()
    call_command(name, stdout=output, **options)
    return output.getvalue()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Another program that listens on a port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return port_of(listener)


@pytest.mark.django_db(transaction=True)
class TestPrepareDemo:
    def test_it_is_for_a_developers_machine_only(self) -> None:
        with pytest.raises(CommandError, match="DEBUG=true only"):
            run("prepare_demo")

        assert not get_user_model().objects.exists()

    def test_it_makes_a_staff_user_and_says_where_everything_is(self, settings: Settings) -> None:
        settings.DEBUG = True
        site, api = free_port(), free_port()

        printed = run("prepare_demo", port=site, api_port=api)

        for shown in (f":{site}/ ", f":{site}/admin/", f":{api}/ ", "staff / staff", "Ctrl-C"):
            assert shown in printed
        client = Client()
        client.post("/admin/login/", {"username": "staff", "password": "staff"})
        assert client.get("/admin/").status_code == 200

    def test_running_it_again_changes_nothing(self, settings: Settings) -> None:
        settings.DEBUG = True
        run("prepare_demo", port=free_port(), api_port=free_port())
        user = get_user_model().objects.get()
        user.set_password("lantern-point")
        user.save()

        run("prepare_demo", port=free_port(), api_port=free_port())

        assert get_user_model().objects.get().check_password("lantern-point")

    @pytest.mark.parametrize(("taken", "variable"), [("port", "PORT"), ("api_port", "API_PORT")])
    def test_a_port_that_is_taken_is_named_with_a_way_out(
        self, settings: Settings, listener: socket.socket, taken: str, variable: str
    ) -> None:
        settings.DEBUG = True
        ports = {"port": free_port(), "api_port": free_port(), taken: port_of(listener)}

        with pytest.raises(CommandError) as refusal:
            run("prepare_demo", **ports)

        assert f"Port {port_of(listener)} is taken" in str(refusal.value)
        assert f"make run {variable}=" in str(refusal.value)
        assert not get_user_model().objects.exists(), "nothing was begun"


def record(**fields: Any) -> SessionRecord:
    return SessionRecord.objects.create(id=uuid4(), user_id="1", user_name="ada@example.com", **fields)


def event(**fields: Any) -> SessionEvent:
    return SessionEvent.objects.create(**{"session_id": uuid4(), "kind": EventKind.ROTATED, **fields})


def days(number: float) -> Any:
    return timezone.now() + timedelta(days=number)


def as_key(param: Any) -> UUID | int | None:
    """A parameter of a statement, if it is a primary key. SQLite stores a UUID as hex."""
    if isinstance(param, str):
        with suppress(ValueError):
            return UUID(hex=param)
    return param if isinstance(param, UUID | int) else None


class Deletions:
    """Records the primary keys in each DELETE."""

    def __init__(self) -> None:
        self.batches: list[set[Any]] = []

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("DELETE"):
            self.batches.append({as_key(param) for param in params} - {None})
        return execute(sql, params, many, context)


@pytest.mark.django_db
class TestPruneSessions:
    def test_a_session_that_nobody_can_use_any_more_is_ended(self) -> None:
        dead = record(expires_at=days(-1.1), sealed="sealed")
        ends: list[object] = []

        def note(session_id: object, reason: object, **_: object) -> None:
            ends.append((session_id, reason))

        session_ended.connect(note)
        printed = run("prune_sessions")
        session_ended.disconnect(note)

        dead.refresh_from_db()
        assert (dead.end_reason, dead.sealed) == (EndReason.EXPIRED, "")
        assert dead.ended_at
        assert ends == [(dead.pk, EndReason.EXPIRED)]
        assert printed.startswith("1 expired sessions ended. Removed, older than 30 days: 0 ended sessions")

    @pytest.mark.parametrize(
        "expires_at", [days(20), days(0.1), days(-0.9), None], ids=["far", "near", "just now", "never"]
    )
    def test_one_that_somebody_may_use_lives_on(self, expires_at: Any) -> None:
        """Also within a day after its expiry: a host with a wrong clock must not end a session that is still valid."""
        living = record(expires_at=expires_at, sealed="sealed")

        run("prune_sessions")

        living.refresh_from_db()
        assert (living.ended_at, living.sealed) == (None, "sealed")

    def test_one_that_has_reached_a_limit_is_ended_for_that_reason(self, settings: Settings) -> None:
        settings.API_SESSION_MAX_AGE, settings.API_SESSION_IDLE_TIMEOUT = 2 * 86400, 1800
        # One began before the setting was there, so its record does not know that it is over.
        old, idle, living = (
            record(signed_in_at=days(-3.1)),
            record(expires_at=days(-1.1)),
            record(signed_in_at=days(-2.9)),
        )

        run("prune_sessions")

        ends = {row.pk: row.end_reason for row in SessionRecord.objects.all()}
        assert ends == {old.pk: EndReason.MAX_AGE, idle.pk: EndReason.IDLE, living.pk: ""}

    def test_one_that_was_left_is_ended_where_nobody_knows_when_it_expires_and_an_operator_says_so(self) -> None:
        old = {"signed_in_at": days(-91), "sealed": "sealed"}
        left = [record(**old), record(**old, last_rotated_at=days(-91)), record(**old, confirmed_at=days(-91))]
        used = [
            record(**old, last_rotated_at=days(-89)),
            record(**old, confirmed_at=days(-89)),
            record(**old, expires_at=days(20)),
            record(signed_in_at=days(-89)),
        ]

        assert run("prune_sessions").startswith("0 expired sessions ended")
        printed = run("prune_sessions", idle_days=90, batch=2)

        assert printed.startswith("3 expired sessions ended")
        ended = SessionRecord.objects.filter(end_reason=EndReason.EXPIRED)
        assert {*ended.values_list("pk", flat=True)} == {gone.pk for gone in left}
        assert {*ended.values_list("sealed", flat=True)} == {""}
        assert SessionRecord.objects.filter(ended_at=None).count() == len(used)

    def test_nobody_is_idle_for_no_time(self) -> None:
        used = record()

        with pytest.raises(CommandError, match="1 or more"):
            run("prune_sessions", idle_days=0)

        assert SessionRecord.objects.get(ended_at=None) == used

    def test_what_ended_long_ago_is_forgotten(self) -> None:
        ended = {"end_reason": EndReason.SIGNED_OUT, "expires_at": days(-40)}
        record(ended_at=days(-31), **ended)
        kept = record(ended_at=days(-29), **ended)

        printed = run("prune_sessions")

        assert SessionRecord.objects.get() == kept
        assert "older than 30 days: 1 ended sessions" in printed

    def test_what_happened_long_ago_is_forgotten_also_to_a_session_that_lives(self) -> None:
        living = record(expires_at=days(20))
        event(at=days(-31), session_id=living.pk)
        kept = event(at=days(-29), session_id=living.pk)
        EventTotal.objects.create(hour=days(-31), kind=EventKind.ROTATED, count=1000)
        kept_total = EventTotal.objects.create(hour=days(-29), kind=EventKind.ROTATED, count=1000)

        printed = run("prune_sessions")

        assert SessionEvent.objects.get() == kept
        assert EventTotal.objects.get() == kept_total
        assert SessionRecord.objects.get() == living
        assert ", 1 events, 1 hourly totals of events" in printed

    def test_how_long_is_for_the_operator_to_say(self) -> None:
        record(ended_at=days(-8), end_reason=EndReason.REVOKED)
        event(at=days(-8))

        run("prune_sessions", keep_days=7)

        assert not SessionRecord.objects.exists()
        assert not SessionEvent.objects.exists()

    def test_counts_whose_time_is_over_are_forgotten(self) -> None:
        AttemptCount.objects.create(key="over", count=3, expires_at=days(-0.01))
        AttemptCount.objects.create(key="over too", count=1, expires_at=days(-90))
        running = AttemptCount.objects.create(key="running", count=3, expires_at=days(0.01))

        printed = run("prune_sessions", batch=1)

        assert AttemptCount.objects.get() == running
        assert "2 expired counts of failed sign-ins" in printed

    def test_it_changes_a_few_rows_at_a_time_and_all_in_the_end(self) -> None:
        for _ in range(5):
            record(expires_at=days(-2))
            record(ended_at=days(-60), end_reason=EndReason.REFUSED)
            event(at=days(-60))

        printed = run("prune_sessions", batch=2)

        assert printed.startswith("5 expired sessions ended. Removed, older than 30 days: 5 ended sessions")
        assert set(SessionRecord.objects.values_list("end_reason", flat=True)) == {EndReason.EXPIRED}
        assert not SessionEvent.objects.exists()

    def test_the_oldest_go_first(self) -> None:
        """Each batch comes from an index. Without an order, PostgreSQL scans the table."""
        ages = [40, 50, 60, 70]
        event_ids = [event(at=days(-age)).pk for age in ages]
        record_ids = [record(ended_at=days(-age), end_reason=EndReason.REFUSED).pk for age in ages]

        deletions = Deletions()
        with connection.execute_wrapper(deletions):
            run("prune_sessions", batch=2)

        for ids in (event_ids, record_ids):
            assert [batch & {*ids} for batch in deletions.batches if batch & {*ids}] == [{*ids[2:]}, {*ids[:2]}]

    def test_running_it_again_does_nothing(self) -> None:
        record(expires_at=days(-2))
        run("prune_sessions")

        assert run("prune_sessions").startswith(
            "0 expired sessions ended. Removed, older than 30 days: 0 ended sessions"
        )
