"""How many PostgreSQL connections a process takes, behind each server that the site is said to run on."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from tests.demo_api.server import DemoApi
from tests.load.browser import Browser
from tests.load.postgres import PostgresServer
from tests.load.processes import POLL_SECONDS, free_port
from tests.load.servers import GeventSite, GranianSite, UvicornSite
from tests.load.site import Site

pytestmark = pytest.mark.postgres

POOL_SIZE = 8
BROWSERS, TABS = 10, 2
STREAMS = 2 * POOL_SIZE
STREAM = "/protected/stream/?rows=3&delay=1"


#: With the number of child processes.
SERVERS: dict[str, tuple[type[Site], int]] = {
    "gthread": (Site, 1),
    "gevent": (GeventSite, 1),
    "uvicorn": (UvicornSite, 0),
    "granian": (GranianSite, 1),
}


@contextmanager
def most_connections(postgres: PostgresServer, database: str) -> Iterator[list[int]]:
    """The largest number of connections to `database` so far, looked up again and again."""
    most, is_over = [0], threading.Event()

    def look() -> None:
        with postgres.connect() as connection:
            while not is_over.is_set():
                row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [database])
                most[0] = max(most[0], (row.fetchone() or [0])[0])
                time.sleep(POLL_SECONDS)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield most
    finally:
        is_over.set()
        watcher.join()


@pytest.mark.parametrize("server", SERVERS)
def test_a_process_takes_few_connections_and_refuses_no_page(
    server: str, postgres: PostgresServer, migrated: str
) -> None:
    kind, workers = SERVERS[server]
    name = f"connections{free_port()}"
    with DemoApi(access_ttl=3600) as api, ExitStack() as closing:
        url = postgres.create_database(name, template=migrated)
        site = kind(
            database_url=url,
            api_url=api.url,
            workers=workers,
            threads=40,
            preload=False,
            environment=api.site_environment,
        )
        closing.enter_context(site)
        browsers = [Browser(site.port) for _ in range(BROWSERS)]
        for browser in browsers:
            browser.sign_in()
        with most_connections(postgres, name) as most:
            statuses = open_expired_tabs(api, browsers)
            # Streams that wait for their next row hold none, or these pages would get none.
            streams = [browsers[0].open_tab(STREAM) for _ in range(STREAMS)]
            statuses += open_expired_tabs(api, browsers[1:])
            statuses += [stream.answer().status for stream in streams]
        assert set(statuses) == {200}, site.log[-3000:]
        assert most[0] <= POOL_SIZE


def open_expired_tabs(api: DemoApi, browsers: list[Browser]) -> list[int]:
    """The statuses of the pages of all browsers at once, which all have to rotate."""
    api.expire_access_tokens()
    with ThreadPoolExecutor(len(browsers)) as together:
        tabs = together.map(lambda browser: browser.open_tabs(TABS), browsers)
        return [tab.answer().status for group in tabs for tab in group]
