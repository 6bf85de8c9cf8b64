"""`streams`, second part: event streams that are open at the same time in one worker, and what each one holds there."""

import json
import resource
import time
import urllib.request
from contextlib import ExitStack

from tests.benchmarks.event_api import EVENTS
from tests.benchmarks.event_browsers import EventBrowsers
from tests.benchmarks.processes import memory
from tests.benchmarks.report import Cell, Ratio, Report, Table
from tests.benchmarks.servers import cpu_seconds, quick_api
from tests.benchmarks.streams import Reader
from tests.load.browser import PAGE, Browser
from tests.load.postgres import PostgresServer
from tests.load.servers import GeventSite, GranianSite, UvicornSite
from tests.load.site import Site

#: An event for each stream so often. Between two events there are signs of life.
EVENT_SECONDS = 30.0
#: For files other than the two connections of each stream.
_OTHER_FILES = 200
#: A thread for each stream takes a lot of memory, and no server here has one for 10,000.
_MOST_THREADS = 1000
PATHS = {"proxy": f"/protected/api{EVENTS}", "page of events": "/protected/events/?rows=10&delay=60"}


class ManyConnections(GeventSite):
    connections = 12_000


#: The number of child processes, and whether each stream has a thread.
SERVERS: dict[str, tuple[type[Site], int, bool]] = {
    "gunicorn gevent": (ManyConnections, 1, False),
    "gunicorn gthread": (Site, 1, True),
    "uvicorn": (UvicornSite, 0, True),
    "granian asgi": (GranianSite, 1, True),
}


def raise_file_limit() -> int:
    """Let this process and its children open as many files as the system allows. Returns the number."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def measure_open_streams(report: Report, streams: int) -> None:
    streams = min(streams, (raise_file_limit() - _OTHER_FILES) // 2)
    rows: list[list[Cell | Ratio]] = []
    with PostgresServer() as postgres:
        for name, (_, _, has_threads) in SERVERS.items():
            for what in PATHS:
                count = min(streams, _MOST_THREADS) if has_threads else streams
                rows.append([f"{name}, {what}", count, *_measure(postgres, name, what, count)])
    report.add(
        Table(
            "event streams",
            "Event streams that are open at the same time in one worker, and what each one holds there",
            ["server", "asked for", "open", "KB", "page meanwhile", "CPU", "PostgreSQL", "sent", "arrived", "in order"],
            rows,
            note=f"Page: its median, as a multiple of before. CPU: of one core, with an event each {EVENT_SECONDS:g} s"
            " (page of events: 60 s) and a sign of life each 10 s.\nPostgreSQL: connections at most.",
        )
    )


def _measure(postgres: PostgresServer, server: str, what: str, streams: int) -> list[Cell | Ratio]:
    kind, workers, _ = SERVERS[server]
    with ExitStack() as stack:
        api_url = stack.enter_context(quick_api(EVENT_SECONDS, name="event_api"))
        site = kind(
            database_url=postgres.create_database(f"{server}{what}".replace(" ", "")),
            api_url=api_url,
            workers=workers,
            threads=streams + 10,
            preload=False,
            environment={"LOG_LEVEL": "ERROR", "API_READ_TIMEOUT": "60"},
        )
        site.migrate()
        stack.enter_context(site)
        browsers = stack.enter_context(EventBrowsers())
        browser = Browser(site.port)
        browser.sign_in()
        browser.open()
        worker = site.workers[0] if workers else site.pid
        before, memory_before = _page_seconds(browser), memory(worker)
        browsers.open(site.port, PATHS[what], browser.jar.header(), streams)
        time.sleep(EVENT_SECONDS)
        cpu_before = cpu_seconds(worker)
        time.sleep(EVENT_SECONDS)
        cpu = (cpu_seconds(worker) - cpu_before) / EVENT_SECONDS
        kilobytes = (memory(worker) - memory_before) / 1024 / streams
        meanwhile = _page_seconds(browser)
        connections = _connections(postgres)
        with urllib.request.urlopen(f"{api_url}/stop") as response:  # noqa: S310  # an address of this machine
            sent = json.load(response)["sent"]
        time.sleep(3.0)
        count = browsers.count()
        is_open = count.opened - count.ended
        in_order = "no" if count.out_of_order else "yes"
        return [is_open, kilobytes, meanwhile / before, cpu, connections, sent or "-", count.events, in_order]


def _page_seconds(browser: Browser) -> float:
    """The median of 60 pages."""
    found = []
    for _ in range(60):
        with Reader(browser.port, PAGE, f"Cookie: {browser.jar.header()}") as reader:
            found.append(reader.wait_for())
        time.sleep(0.02)
    return sorted(found)[30]


def _connections(postgres: PostgresServer) -> int:
    with postgres.connect() as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchone()
    assert row is not None
    return int(row[0])
