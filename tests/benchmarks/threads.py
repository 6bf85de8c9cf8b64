"""How many pages gunicorn serves with few threads and with many, in front of a quick API and of slow ones."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from tests.benchmarks.report import Cell, Ratio, Report, Table, alternate, ratio
from tests.benchmarks.servers import cpu_per_page, quick_api, signed_in
from tests.load.browser import PAGE
from tests.load.site import Site

WORKERS = 2
THREADS = (4, 8, 32)
#: What the others are compared to.
USUAL = 8
API_SECONDS = (0.0, 0.02, 0.1)
#: As many as the largest number of threads can serve at once.
CONNECTIONS = WORKERS * max(THREADS)
PAGES = 20 * CONNECTIONS


def measure_threads(report: Report, rounds: int) -> None:
    """Pages a second, by those with 2 workers of 8 threads each."""
    rows: list[list[Cell | Ratio]] = []
    for seconds in API_SECONDS:
        with sites(seconds) as found:
            figures = alternate(
                {threads: partial(pages_per_second, site, cookie) for threads, (site, cookie) in found.items()},
                rounds,
            )
        rows.append([f"{seconds * 1000:.0f} ms", *(ratio(figures[name], to=figures[str(USUAL)]) for name in figures)])
    report.add(
        Table(
            "threads",
            f"Pages a second, by those with {WORKERS} x {USUAL} threads (1.00: as many)",
            ("the API takes", *(f"{WORKERS} x {threads} threads" for threads in THREADS)),
            rows,
            f"{CONNECTIONS} connections; medians of {rounds} alternating rounds of {PAGES} pages, and quartiles.\n"
            "API and readers share the machine's cores with the site.",
        )
    )


def pages_per_second(site: Site, cookie: str) -> float:
    started = time.perf_counter()
    cpu_per_page(site, PAGE, cookie, connections=CONNECTIONS, pages=PAGES)
    return PAGES / (time.perf_counter() - started)


@contextmanager
def sites(api_seconds: float) -> Iterator[dict[str, tuple[Site, str]]]:
    """For each number of threads a site, and the cookie of somebody who is signed in; all have warmed up."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        api_url = stack.enter_context(quick_api(api_seconds))
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
            cookie = signed_in(site.port).jar.header(PAGE)
            found[str(threads)] = (site, cookie)
            cpu_per_page(site, PAGE, cookie, connections=CONNECTIONS, pages=CONNECTIONS)
        yield found
