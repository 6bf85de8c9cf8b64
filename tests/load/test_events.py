"""Session events of many processes: all of them arrive, and no request waits for the table that they go to."""

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.demo_api.server import DemoApi
from tests.load.browser import PATIENCE_SECONDS, Browser
from tests.load.postgres import PostgresServer
from tests.load.processes import wait_until
from tests.load.site import Site

WORKERS = 3


@pytest.fixture
def api() -> Iterator[DemoApi]:
    with DemoApi(access_ttl=3600) as api:
        yield api


def test_the_events_of_all_workers_arrive_also_those_told_just_before_the_end(api: DemoApi, tmp_path: Path) -> None:
    """The workers are forks of a process that has loaded the site (`--preload`)."""
    database = tmp_path / "site.sqlite3"
    site = Site(database_url=f"sqlite:///{database}", api_url=api.url, workers=WORKERS)
    site.migrate()
    with site:
        rotated: Counter[int] = Counter()
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while len(rotated) < WORKERS:
            assert time.monotonic() < give_up_at, f"only these workers have told anything: {rotated}"
            browser = Browser(site.port)
            browser.sign_in()
            api.expire_access_tokens()
            tab = browser.open_tab("/protected/stream/?rows=2&delay=0.05")
            rotated[site.worker_serving(tab.port)] += 1
            tab.answer()
            browser.sign_out()
        sessions = sum(rotated.values())
        site.stop()

        with closing(sqlite3.connect(database)) as reader:
            kinds = Counter(kind for (kind,) in reader.execute("SELECT kind FROM accounts_sessionevent"))
            totals = dict(reader.execute("SELECT kind, sum(count) FROM accounts_eventtotal GROUP BY kind"))
        assert kinds == dict.fromkeys(("signed-in", "handed-off", "signed-out"), sessions)
        assert totals == {"rotated": sessions}


@pytest.mark.postgres
def test_no_request_waits_for_a_lock_on_the_tables_of_events(api: DemoApi, postgres: PostgresServer) -> None:
    """A lost connection does not lose them."""
    url = postgres.create_database("locked_events")
    site = Site(database_url=url, api_url=api.url, workers=1)
    site.migrate()
    with site, postgres.connect("locked_events") as reader:

        def kinds() -> list[str]:
            return [row[0] for row in reader.execute("SELECT kind FROM accounts_sessionevent ORDER BY at")]

        def totals() -> list[tuple[str, int]]:
            query = "SELECT kind, sum(count) FROM accounts_eventtotal GROUP BY kind ORDER BY kind"
            return reader.execute(query).fetchall()

        def waiting() -> list[int]:
            query = "SELECT pid FROM pg_stat_activity WHERE datname = 'locked_events' AND wait_event_type = 'Lock'"
            return [row[0] for row in reader.execute(query)]

        with postgres.connect("locked_events") as other, other.transaction():
            other.execute("LOCK TABLE accounts_sessionevent, accounts_eventtotal IN ACCESS EXCLUSIVE MODE")
            browser = Browser(site.port)
            browser.sign_in()
            api.expire_access_tokens()
            assert browser.open().status == 200
            assert browser.open().status == 200
            browser.sign_out()
            wait_until(lambda: len(waiting()) == 2, "the writers of rows and of totals wait for their tables")
            for process in waiting():
                reader.execute("SELECT pg_terminate_backend(%s)", [process])
        wait_until(lambda: kinds() == ["signed-in", "signed-out"], "the events of the outage are written")
        wait_until(lambda: totals() == [("confirmed", 1), ("rotated", 1)], "the counts of the outage are added once")
