"""A project whose router reads from a replica: it lags behind, so it never decides about a session."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, connections
from django.db.models.functions import Now
from pytest_django import Settings

from accounts.models import EndReason, SessionRecord
from accounts.rotation.ending import end_session
from tests.accounts.rotation.helpers import rotate_and_confirm
from tests.browsers import Browser
from tests.demo_api.server import DemoApi


class ReadFromReplica:
    """A router as in Django's documentation of replication."""

    def db_for_read(self, model: type, **hints: Any) -> str:
        return "replica"

    def db_for_write(self, model: type, **hints: Any) -> str:
        return "default"


@pytest.fixture(autouse=True)
def replica(transactional_db: None, settings: Settings, tmp_path: Path) -> Iterator[None]:
    """All tables, and no row: it is far behind."""
    path = tmp_path / "replica.sqlite3"
    with closing(sqlite3.connect(path)) as database, connection.cursor() as cursor:
        cursor.execute("SELECT sql FROM sqlite_master WHERE name LIKE 'accounts_%' AND sql IS NOT NULL")
        for (sql,) in cursor.fetchall():
            database.execute(sql)
    copy = connections["replica"] = connections["default"].copy(alias="replica")
    copy.settings_dict["NAME"] = str(path)
    settings.DATABASE_ROUTERS = [f"{__name__}.{ReadFromReplica.__name__}"]
    try:
        yield
    finally:
        copy.close()
        del connections["replica"]


def record() -> SessionRecord:
    return SessionRecord.objects.using("default").get()


def test_a_new_session_lives(signed_in: Browser, api: DemoApi, settings: Settings) -> None:
    assert not SessionRecord.objects.exists(), "by default a query reads from the replica"
    settings.API_SESSION_CHECK = "every-request"
    straggler = signed_in.copy()

    rotate_and_confirm(signed_in, api)

    assert straggler.is_signed_in()
    assert signed_in.session().generation == straggler.session().generation == 1
    assert (record().generation, record().confirmed) == (1, 1)


def test_the_limits_on_sign_ins_hold(browser: Browser, settings: Settings) -> None:
    settings.SIGN_IN_LIMIT_PER_ADDRESS = "2/10 minutes"
    form = {"username": "ada@example.com", "password": "wrong"}

    assert [browser.post("/accounts/login/", form).status_code for _ in range(3)] == [200, 200, 429]


def test_a_session_that_ended_has_ended(signed_in: Browser, api: DemoApi) -> None:
    other = signed_in.copy()
    signed_in.sign_out()
    api.expire_access_tokens()

    assert not other.is_signed_in()

    assert record().end_reason == EndReason.SIGNED_OUT


def test_the_pair_of_a_session_that_staff_ended_is_revoked(signed_in: Browser, api: DemoApi) -> None:
    end_session(signed_in.session().id, EndReason.REVOKED)
    api.expire_access_tokens()

    assert not signed_in.is_signed_in()

    assert api.count("POST", "/auth/logout", 204) == 1


def test_a_copied_cookie_is_detected(signed_in: Browser, api: DemoApi) -> None:
    thief = signed_in.copy()
    rotate_and_confirm(signed_in, api)
    SessionRecord.objects.update(retired=[[newer, at - 31] for newer, at in record().retired], retired_host_times=None)

    assert not thief.is_signed_in()

    assert record().end_reason == EndReason.REUSED


def test_prune_sessions_ends_and_removes_what_the_database_has(signed_in: Browser) -> None:
    SessionRecord.objects.update(expires_at=Now() - timedelta(days=2), expiry_check_at=Now() - timedelta(days=2))
    call_command("prune_sessions")
    assert record().end_reason == EndReason.EXPIRED

    SessionRecord.objects.update(ended_at=Now() - timedelta(days=31))
    call_command("prune_sessions")
    assert not SessionRecord.objects.using("default").exists()
