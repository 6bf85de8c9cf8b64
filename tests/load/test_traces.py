"""Drawings with several worker processes: each shows what all of them did, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from accounts.history.traced_requests import KEPT_REQUESTS
from tests.demo_api.server import DemoApi
from tests.load.browser import PATIENCE_SECONDS, Browser
from tests.load.postgres import PostgresServer
from tests.load.processes import wait_until
from tests.load.site import Site

WORKERS = 3
MAX_PAGES = 200


@pytest.fixture
def api() -> Iterator[DemoApi]:
    with DemoApi(access_ttl=3600) as api:
        yield api


def every_worker_shows_what_all_did(database_url: str, api: DemoApi) -> None:
    site = Site(database_url=database_url, api_url=api.url, workers=WORKERS, environment={"API_TRACE": "true"})
    site.migrate()
    with site:
        browser = Browser(site.port)
        browser.sign_in()
        api.expire_access_tokens()

        def open_page(path: str) -> tuple[int, str]:
            """The worker that answered, and the page."""
            tab = browser.open_tab(path, receives=False)
            worker = site.worker_serving(tab.port)
            answer = tab.answer()
            assert answer.status == 200
            browser.receive(answer)
            return worker, answer.body.decode()

        serving: set[int] = set()
        opened = 0
        while len(serving) < WORKERS or opened < KEPT_REQUESTS:
            assert opened < MAX_PAGES, f"only these workers answer: {serving}"
            serving.add(open_page("/protected/")[0])
            opened += 1
        showing: set[int] = set()

        def is_shown_by_all() -> bool:
            worker, page = open_page("/protected/trace/")
            if page.count("<h2>GET /protected/</h2>") == KEPT_REQUESTS:
                showing.add(worker)
            return len(showing) == WORKERS

        wait_until(is_shown_by_all, "every worker shows the latest requests of all", seconds=PATIENCE_SECONDS)


def test_every_worker_shows_what_all_did_on_sqlite(api: DemoApi, tmp_path: Path) -> None:
    every_worker_shows_what_all_did(f"sqlite:///{tmp_path / 'site.sqlite3'}", api)


@pytest.mark.postgres
def test_every_worker_shows_what_all_did_on_postgresql(api: DemoApi, postgres: PostgresServer) -> None:
    every_worker_shows_what_all_did(postgres.create_database("drawn"), api)
