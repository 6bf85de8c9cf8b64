"""How many pages gunicorn serves with few threads and with many, in front of a quick API and of slow ones."""

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Event

from tests.benchmarks.report import Cell, Ratio, Report, Table, alternate, ratio
from tests.benchmarks.servers import cpu_per_page
from tests.demo_api.server import DemoApi
from tests.load.browser import PAGE, Browser
from tests.load.processes import free_port, wait_until
from tests.load.site import Site

WORKERS = 2
THREADS = (2, 8, 32)
#: What the others are compared to.
USUAL = 8
API_SECONDS = (0.0, 0.02, 0.1)
#: As many as the largest number of threads can serve at once.
CONNECTIONS = WORKERS * max(THREADS)


def measure_threads(report: Report, rounds: int, pages: int) -> None:
    """Pages a second, by those with 2 workers of 8 threads each."""
    rows: list[list[Cell | Ratio]] = []
    for seconds in API_SECONDS:
        with sites(seconds) as found:
            figures = alternate(
                {threads: partial(pages_per_second, site, cookie, pages) for threads, (site, cookie) in found.items()},
                rounds,
            )
        rows.append([f"{seconds * 1000:.0f} ms", *(ratio(figures[name], to=figures[str(USUAL)]) for name in figures)])
    report.add(
        Table(
            "threads",
            f"Pages a second, by those with {WORKERS} x {USUAL} threads (1.00: as many)",
            ("the API takes", *(f"{WORKERS} x {threads} threads" for threads in THREADS)),
            rows,
            f"{CONNECTIONS} connections; medians of {rounds} alternating rounds of {pages} pages, and quartiles.\n"
            "API and readers share the machine's cores with the site.",
        )
    )


def pages_per_second(site: Site, cookie: str, pages: int) -> float:
    started = time.perf_counter()
    cpu_per_page(site, PAGE, cookie, connections=CONNECTIONS, pages=pages)
    return pages / (time.perf_counter() - started)


@contextmanager
def sites(api_seconds: float) -> Iterator[dict[str, tuple[Site, str]]]:
    """For each number of threads a site, and the cookie of somebody who is signed in; all have warmed up."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        api_url = stack.enter_context(slow_api(api_seconds))
        found = {}
        for threads in THREADS:
            site = Site(
                database_url=f"sqlite:///{folder}/db.sqlite3",
                api_url=api_url,
                workers=WORKERS,
                threads=threads,
                environment={"LOG_LEVEL": "WARNING"},
            )
            site.migrate()
            stack.enter_context(site)
            browser = Browser(site.port)
            browser.sign_in()
            found[str(threads)] = (site, browser.jar.header(PAGE))
            cpu_per_page(site, PAGE, browser.jar.header(PAGE), connections=CONNECTIONS, pages=10 * CONNECTIONS)
        yield found


@contextmanager
def slow_api(seconds: float) -> Iterator[str]:
    """A demo API, in a process of its own, that takes so long for an answer: its URL."""
    context = multiprocessing.get_context("spawn")
    serving, over, port = context.Event(), context.Event(), free_port()
    process = context.Process(target=_serve, args=(port, seconds, serving, over))
    process.start()
    try:
        wait_until(serving.is_set, "the API serves")
        yield f"http://127.0.0.1:{port}"
    finally:
        over.set()
        process.join()


def _serve(port: int, seconds: float, serving: Event, over: Event) -> None:
    with DemoApi(port, access_ttl=24 * 3600, refresh_ttl=48 * 3600, processing_seconds=seconds, keep_calls=False):
        serving.set()
        over.wait()
