"""Scenarios: a database that is locked, away, crashed at the worst moment, or restored from a backup."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.demo_api.server import Fault, Gate
from tests.load.browser import GRACE, Browser
from tests.load.figures import Figures
from tests.load.postgres import PostgresServer
from tests.load.stage import Act, Stage
from tests.load.workers import LEASE_SECONDS

GATE_SECONDS = 10
LOCKED_SECONDS = 2.0
#: accounts.rotation.store tries for STORE_SECONDS to store a new pair.
AWAY_SHORTLY_SECONDS = 2.0
#: config.postgresql.connection pauses for a second after a failed try, which ends up to a second later.
OUTAGE_PAUSE_SECONDS = 2.0


def locked_for_two_seconds(stage: Stage) -> Figures:
    """SQLite: nobody can write while the tabs want to rotate. They wait."""
    with Act(stage, [stage.site]) as act:
        browser = act.sign_in()
        act.measure_baseline(browser, stage.scale.tabs)
        act.expire()
        with _sqlite_locked(stage):
            tabs = browser.open_tabs(stage.scale.tabs)
            time.sleep(LOCKED_SECONDS)
        act.expect_pages(tabs)
        act.expect_alive(browser, generation=1)
    assert act.figures.refreshes == 1
    return act.figures


def locked_at_the_store(stage: Stage) -> Figures:
    """SQLite: the lock comes between the API's answer and the store."""
    with Act(stage, [stage.site]) as act, Gate() as gate:
        browser = act.sign_in()
        before = act.follow(browser.copy())
        act.expire()
        act.fail_refresh(Fault.hold_after(gate))
        tab = browser.open_tab(receives=False)
        assert gate.reached.wait(GATE_SECONDS)
        with _sqlite_locked(stage):
            gate.release()
            time.sleep(LOCKED_SECONDS)
        act.expect(tab.answer(), 200)
        # It was stored: a browser that never got this answer goes on, too.
        act.expect_alive(before, generation=1)
    assert act.figures.refreshes == 1
    return act.figures


def crashed_at_the_store_and_back(stage: Stage) -> Figures:
    """PostgreSQL crashes between the API's answer and the store, and is back in time for one of the tries."""
    with Act(stage, stage.two_sites) as act, Gate() as gate, _away(stage) as postgres:
        browser = act.sign_in()
        before = act.follow(browser.copy())
        act.expire()
        act.fail_refresh(Fault.hold_after(gate))
        tab = browser.open_tab(receives=False)
        assert gate.reached.wait(GATE_SECONDS)
        postgres.crash()
        gate.release()
        time.sleep(AWAY_SHORTLY_SECONDS)
        postgres.start()
        act.expect(tab.answer(), 200)
        act.expect_alive(before, generation=1)
    assert act.figures.refreshes == 1
    return act.figures


def crashed_at_the_store_for_long(stage: Stage) -> Figures:
    """It stays away: the cookie alone carries the session on, and the record catches up later."""
    with Act(stage, stage.two_sites) as act, Gate() as gate, _away(stage) as postgres:
        browser = act.sign_in()
        act.expire()
        act.fail_refresh(Fault.hold_after(gate))
        tab = browser.open_tab()
        assert gate.reached.wait(GATE_SECONDS)
        postgres.crash()
        gate.release()
        act.expect(tab.answer(), 200)
        # Its pair is good, and nobody is turned away because it cannot be confirmed now.
        act.expect(browser.open(), 200)
        act.expect(browser.open(port=act.ports[1]), 200)
        postgres.start()
        act.expire()
        act.expect_alive(browser, generation=2)
    assert act.figures.refreshes == 2
    return act.figures


def crashed_at_the_store_and_the_answer_lost(stage: Stage) -> Figures:
    """It is back when the lease has run out: the worker stores its pair before another host sends the spent token."""
    with Act(stage, stage.two_sites) as act, Gate() as gate, _away(stage) as postgres:
        browser = act.sign_in()
        act.expire()
        act.fail_refresh(Fault.hold_after(gate))
        tab = browser.open_tab(receives=False)
        assert gate.reached.wait(GATE_SECONDS)
        postgres.crash()
        gate.release()
        tab.lose()
        time.sleep(LEASE_SECONDS)
        postgres.start()
        # This host has not noticed that the database was away.
        act.expect(browser.open(port=act.ports[1]), 200)
        act.expect_alive(browser, generation=1)
    assert act.figures.refreshes == 1
    return act.figures


def away_and_back(stage: Stage) -> Figures:
    """While it is away good tokens go on, expired ones get a 503, and nobody is signed out."""
    with Act(stage, stage.two_sites) as act, _away(stage) as postgres:
        expired, good = act.sign_in(), Browser(act.ports[0])
        act.measure_baseline(expired, stage.scale.tabs)
        act.expire()
        act.follow(good).sign_in(GRACE)
        postgres.stop()
        give_up_at = time.monotonic() + stage.scale.seconds
        while time.monotonic() < give_up_at:
            act.expect_pages(good.open_tabs(5, ports=act.ports), timed=True)
            for tab in expired.open_tabs(5, ports=act.ports):
                answer = act.expect(tab.answer(), 503)
                assert answer.header("Retry-After")
                assert not answer.session_cookies
        postgres.start()
        act.expect_alive(expired, generation=1)
        act.expect_pages(expired.open_tabs(stage.scale.tabs, ports=act.ports))
        act.expire()
        act.expect_alive(good, generation=1)
    assert act.figures.refreshes == 2
    return act.figures


def restored_from_a_backup(stage: Stage) -> Figures:
    """A cookie newer than its record: the cookie counts, and the record catches up as it is confirmed or rotates."""
    with Act(stage, [stage.site]) as act:
        confirmed, unconfirmed = act.sign_in(), act.sign_in()
        backup = _read_records(stage)
        for _ in range(2):
            act.expire()
            for browser in (confirmed, unconfirmed):
                act.expect(browser.open(), 200)
        act.expect(confirmed.open(), 200)
        _restore_records(stage, backup)

        act.expect_alive(unconfirmed, generation=2)
        for browser in (confirmed, unconfirmed):
            act.expire()
            act.expect_pages(browser.open_tabs(stage.scale.tabs))
            act.expect_alive(browser, generation=3)
    return act.figures


@contextmanager
def _sqlite_locked(stage: Stage) -> Iterator[None]:
    with closing(sqlite3.connect(stage.database, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def _away(stage: Stage) -> Iterator[PostgresServer]:
    """The server, for a scenario to take away; afterwards it is there again, whatever happened.

    Another scenario may just have brought it back, and each worker pauses before it tries again.
    """
    assert stage.postgres is not None
    time.sleep(max(0.0, stage.postgres.started_at + OUTAGE_PAUSE_SECONDS - time.monotonic()))
    try:
        yield stage.postgres
    finally:
        stage.postgres.start()


def _read_records(stage: Stage) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(stage.database)) as connection:
        return connection.execute("SELECT * FROM accounts_sessionrecord").fetchall()


def _restore_records(stage: Stage, rows: list[tuple[object, ...]]) -> None:
    with closing(sqlite3.connect(stage.database)) as connection, connection:
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"REPLACE INTO accounts_sessionrecord VALUES ({marks})", rows)  # noqa: S608
